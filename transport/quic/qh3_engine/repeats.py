"""When events of qh3's core can be taken although it may be about to send a frame again.

The core (2.1) prepares frames of up to 16 streams for a packet, and what does not fit stays prepared while congestion
control allows no more. If the prepared frame is sent again for nothing, because what was thought lost arrives after
all, its stream may be over before. The core forgets such a stream once that event is taken, and then fails: "reserved
stream is missing". With one packet in ten lost or late every connection would end so within seconds.

So while frames may be left over and packets were given up a short while ago, what arrives is taken when they are sent:
at the end of a flush that congestion control did not cut short, or after so many packets that they must be among them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.internals import QuicConnectionCore

#: Seconds for which a packet that was given up may still arrive, or what acknowledges it: on a machine without CPU to
#: spare both wait in the sockets, and with 1 second connections ended there. Twice the idle timeout (wire.md 1).
LATE = 10.0
#: Streams for which the core prepares frames at once, but for a probe, for which it takes all.
PREPARED = 16
#: Bytes of a packet: the core sends nothing more where congestion control allows less.
_PACKET = 1500


class Repeats:
    """What is known of frames left over, and the events that wait for them."""

    def __init__(self) -> None:
        self.is_possible = False
        "Whether frames may be sent again for nothing: packets were given up a short while ago."
        self.are_left = False
        "Whether such may have been left over by the last flush."
        self._until = 0.0  # when none of those packets arrives any more
        self._waiting: deque[tuple[int, int]] = deque()  # events, and the packet after which they may be taken
        self.waiting = 0
        "Events that wait, in sum."
        self._packets = 0
        self._probes = 0  # when no frames were left

    def __repr__(self) -> str:
        return f"<Repeats possible={self.is_possible} left={self.are_left} waiting={self.waiting}>"

    def packets_given_up(self, now: float) -> None:
        """The core took packets for lost, or sent their frames again without waiting for that."""
        self.is_possible = True
        self._until = now + LATE

    def flushed(self, core: QuicConnectionCore, packets: int, now: float, *, cut_short: bool) -> bool:
        """A flush sent so many packets; `cut_short` by the socket. Returns whether events became free by it."""
        self._packets += packets
        self.is_possible = now <= self._until
        cut_short = cut_short or core.congestion_window - core.bytes_in_flight < _PACKET
        self.are_left = self.is_possible and cut_short
        if self.are_left:
            return bool(self._waiting) and self._waiting[0][1] <= self._packets
        self._probes = core.pto_total
        had_waiting = bool(self._waiting)
        self._waiting.clear()
        self.waiting = 0
        return had_waiting

    def withhold(self, events: int, core: QuicConnectionCore, streams: int) -> None:
        """So many events came while frames were left, of at most `streams` streams."""
        if events:
            prepared = PREPARED + (streams if core.pto_total != self._probes else 0)
            self._waiting.append((events, self._packets + prepared))
            self.waiting += events

    def free(self, queued: int) -> int:
        """Return how many of the core's `queued` events may be taken."""
        waiting = self._waiting
        while waiting and waiting[0][1] <= self._packets:
            self.waiting -= waiting.popleft()[0]
        return max(queued - self.waiting, 0)
