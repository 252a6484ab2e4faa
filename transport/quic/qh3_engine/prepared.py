"""When events of qh3's core can be taken although it may have frames prepared of streams that end with them.

The core (2.1) prepares frames of up to 16 streams for a packet, and what does not fit stays prepared while congestion
control allows no more. Its event that a stream is over has it forget the stream when the event is taken, and if a frame
of that stream is prepared then, the connection fails: "reserved stream is missing". Two kinds of frames can outlive
their stream:

- Data or an end that is sent again for nothing, because what was thought lost arrives after all.
- RESET_STREAM and STOP_SENDING, which are of no use any more once the peer ended the stream by itself. Nothing need be
  lost for that: a window that is full and a client that disconnects are enough.

The core queues one of these frames for a stream at a time. A STOP_SENDING that is asked for together with a
RESET_STREAM would leave a round trip later, when that is acknowledged: so it is asked for once more as soon as the
other has left (`stops_to_repeat`). And that the peer gave up a stream is known when its event is taken, but answered by
the core as it arrives: while events are in the core, what is left may be such an answer.

So while such frames may be left over, what arrives is taken when it is known that none are: at the end of a flush that
congestion control did not cut short; where it did, once the core lets a PING past (it holds it back only while frames
are prepared); or else after so many packets that those frames must have been among them.
"""

from __future__ import annotations

from collections import deque

#: Seconds for which a packet that was given up may still arrive, or what acknowledges it: on a machine without CPU to
#: spare both wait in the sockets, and with 1 second connections ended there. Twice the idle timeout (wire.md 1).
LATE = 10.0
#: Streams for which the core prepares frames at once, but for a probe, for which it takes all.
PREPARED = 16
#: Packets that may leave before those frames do, with frames that were queued earlier: credit, acknowledgements.
AHEAD = 16


#: How many times as long as one frame takes to leave events wait at most for streams that are given up one by one.
PATIENCE = 3


class Prepared:
    """What is known of frames left over, and the events that wait for them.

    Packets are counted where a flush left frames: congestion control does not hold back what needs no stream, and a
    packet of acknowledgements brings nothing nearer.
    """

    def __init__(self) -> None:
        self.are_left = False
        "Whether frames that may outlive their streams may have been left over by the last flush."
        self.waiting = 0
        "Events that wait, in sum."
        self._waiting: deque[list[int]] = deque()  # how many came together, and after which packet they may be taken
        self._packets = 0
        self._late_until = 0.0  # when no packet arrives any more that was given up
        self._everything = False  # whether all streams may have been prepared, for a probe
        self._was_asked = False  # whether a PING was held back since the last flush that sent anything
        # Packets after which every reset and stop has left, and after which events wait for them no longer.
        self._given_up_until = self._wait_until = 0
        self._given_up_since = 0
        self._given_up_late_until = 0.0  # when none of them is sent again any more
        self._resets: set[int] = set()  # asked for since a flush left nothing
        self._stops: dict[int, int] = {}  # the same, with their codes
        self._both: dict[int, int] = {}  # of streams for which both were asked for

    def __repr__(self) -> str:
        return f"<Prepared left={self.are_left} waiting={self.waiting}>"

    def packets_given_up(self, now: float, streams: int, *, probes: bool) -> None:
        """The core took packets for lost, or with `probes` sends them again without waiting for that; of `streams`."""
        self._late_until = now + LATE
        self._everything = self._everything or probes
        if now <= self._given_up_late_until:
            self._frames_of_given_up(streams)

    def stream_given_up(self, now: float, streams: int) -> None:
        """A stream was reset or stopped, by this side or by the peer, beside so many others."""
        self._given_up_late_until = now + LATE
        self._frames_of_given_up(streams)

    def reset_asked(self, stream_id: int) -> None:
        """A RESET_STREAM waits to be sent."""
        self._resets.add(stream_id)
        if stream_id in self._stops:
            self._both[stream_id] = self._stops[stream_id]

    def stop_asked(self, stream_id: int, code: int) -> None:
        """A STOP_SENDING waits to be sent."""
        self._stops[stream_id] = code
        if stream_id in self._resets:
            self._both[stream_id] = code

    def forget_stream(self, stream_id: int) -> None:
        """The stream is over."""
        self._resets.discard(stream_id)
        self._stops.pop(stream_id, None)
        self._both.pop(stream_id, None)

    def stops_to_repeat(self) -> dict[int, int]:
        """A flush left nothing: return the codes of streams whose STOP_SENDING the core has put off, once each."""
        both, self._both = self._both, {}
        self._resets.clear()
        self._stops.clear()
        return both

    def _frames_of_given_up(self, streams: int) -> None:
        """They wait behind one frame of each stream, and behind what is prepared, which a probe makes all of them."""
        if self._packets >= self._wait_until:
            self._given_up_since = self._packets
        most = streams + PREPARED + AHEAD + (streams if self._everything else 0)
        self._given_up_until = self._packets + most
        self._wait_until = min(self._given_up_until, self._given_up_since + PATIENCE * most)

    def is_risky(self, now: float) -> bool:
        """Whether a frame that is prepared may outlive its stream."""
        return now <= self._late_until or self._packets < self._given_up_until or bool(self._both)

    def may_ask(self, sent: int) -> bool:
        """Whether a PING can tell more than the last one, which was held back: whether packets were `sent` since."""
        if self._was_asked and not sent:
            return False
        self._was_asked = True
        return True

    def none_are_left(self) -> bool:
        """A flush left nothing prepared. Returns whether events became free by it."""
        self.are_left = self._everything = self._was_asked = False
        had_waiting = self.waiting > 0
        self.nothing_waits()
        return had_waiting

    def some_are_left(self, sent: int, queued: int, streams: int) -> bool:
        """A flush `sent` so many packets, all with frames that were prepared, and may have left others; with `queued`
        events in the core. Returns whether some are free."""
        self.are_left = True
        self._packets += sent
        older = queued - self.waiting
        if older > 0:  # not taken when they were free, and their streams' frames may have been prepared since
            self._waiting.appendleft([older, self._after(streams) + streams])  # answers of the core stand behind others
            self.waiting = queued
        return self.free(queued) > 0

    def nothing_waits(self) -> None:
        """The core has no events."""
        self._waiting.clear()
        self.waiting = 0

    def withhold(self, events: int, streams: int) -> None:
        """So many events came while frames were left."""
        if events > 0:
            self._waiting.append([events, self._after(streams)])
            self.waiting += events

    def free(self, queued: int) -> int:
        """Return how many of the core's `queued` events may be taken."""
        free = max(queued - self.waiting, 0)
        if self._packets >= self._wait_until:
            for events, after in self._waiting:
                if after > self._packets:
                    break
                free += events
        return free

    def taken(self, events: int, queued: int) -> None:
        """So many of the core's `queued` events were taken."""
        events -= max(queued - self.waiting, 0)
        while events > 0 and self._waiting:
            first = self._waiting[0]
            step = min(events, first[0])
            events -= step
            first[0] -= step
            self.waiting -= step
            if not first[0]:
                self._waiting.popleft()

    def _after(self, streams: int) -> int:
        return self._packets + PREPARED + AHEAD + (streams if self._everything else 0)
