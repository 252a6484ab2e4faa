"""How many frames of stream data a peer makes qh3's core keep behind gaps, estimated from a sample of its packets.

The core bounds them by bytes, and each costs it 100 however short it is. Nothing that it tells shows a gap, and sums of
bytes do not either: what came and delivered nothing may as well be acknowledgements and retransmissions. So of a peer
that sent much of such (`UNSEEN_LIMIT`), one datagram in `RATE` is read here a second time, with the keys that TLS gave.
The peer cannot guess which, so `RATE` times what waits behind gaps in these is what the core keeps, or nearly.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pyconnector.transport.quic.qh3_engine.frames import frames_of_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.quic.qh3_engine.packets import PacketReader

#: Bytes of frames that came and delivered nothing before a connection is watched. Behind a gap a frame takes 5 or more.
UNSEEN_LIMIT = 1024 * 1024
#: Bytes of every datagram that are no frames: first byte, our connection ID, packet number, authentication tag.
PACKET_OVERHEAD = 1 + 8 + 1 + 16
#: One datagram in so many is read.
RATE = 32
#: Frames behind gaps that a connection may hold. Ends of one can cut another in two: it makes twice as many pieces.
HELD_FRAMES = 65536
#: Packets read for which one frame is excused that belongs to a stream that was over long ago: a late retransmission.
EXCUSED_BY = 8
#: Packets that the core could read and we could not, all in all: they might hold anything.
UNREADABLE_PACKETS = 32

#: Beginning of a stream that the core forgot, and of one that takes no more data.
OVER, EVERYTHING = -1, 1 << 62
#: Frames that are noted before those are forgotten again that wait no more.
_PRUNE_STEP = 256


class PieceWatch:
    """The sample of one connection.

    `delivered` tells how long the beginning of a stream is that the core delivered, `OVER` where the stream was over so
    long ago that the core knows no more of it, and would begin it anew.
    """

    def __init__(self, reader: PacketReader, delivered: Callable[[int], int]) -> None:
        self._reader = reader
        self._delivered = delivered
        self._waiting: set[tuple[int, int]] = set()  # stream and end offset of frames that were behind gaps
        self._late = 0  # frames of streams that the core forgot, less the excused
        self._prune_at = _PRUNE_STEP
        self._read = 0
        self._unreadable = 0
        self._pass_over = _distance()

    def __repr__(self) -> str:
        return f"<PieceWatch waiting={len(self._waiting)} late={self._late} unreadable={self._unreadable}>"

    def choose(self, count: int) -> int | None:
        """Return the index of the one among the next `count` datagrams that `note` shall see next, if any."""
        chosen = self._pass_over
        if chosen < count:
            self._pass_over = _distance()
            return chosen
        self._pass_over -= count
        return None

    def passed(self, packets: int) -> None:
        """The core read so many packets that `note` does not see."""
        self._reader.passed(packets)

    def note(self, datagram: bytes, packets: int) -> str | None:
        """Look at a chosen datagram, in which the core found `packets` packets and whose data was delivered.

        Returns why the peer must be given up, if it must.
        """
        payload = self._reader.read(datagram)
        if payload is None:
            self._reader.passed(packets)
            self._unreadable += packets
            return "the peer's packets cannot be looked into" if self._unreadable > UNREADABLE_PACKETS else None
        if not packets:
            return None  # the core has it already
        self._read += 1
        if self._late and not self._read % EXCUSED_BY:
            self._late -= 1
        for stream_id, end in frames_of_streams(payload):
            beginning = self._delivered(stream_id)
            if beginning == OVER:
                self._late += 1
            elif end > beginning:
                self._waiting.add((stream_id, end))
        if len(self._waiting) + self._late >= self._prune_at and self._held() * RATE > HELD_FRAMES:
            return "the peer sent too many pieces of streams whose beginnings it withholds"
        return None

    def _held(self) -> int:
        """Forget what waits no more, and count the rest."""
        delivered = self._delivered
        self._waiting = {(stream_id, end) for stream_id, end in self._waiting if OVER < delivered(stream_id) < end}
        held = len(self._waiting) + self._late
        self._prune_at = held + _PRUNE_STEP
        return held


def _distance() -> int:
    """How many datagrams are passed over before the next is chosen: `RATE` - 1 in the mean."""
    return random.randrange(2 * RATE - 1)
