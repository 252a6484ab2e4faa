"""How much of a stream qh3's core may hold: what goes beyond waits in the writer's pieces, which cost only themselves.

The core (2.1) keeps a stream's unsent and unacknowledged bytes in one buffer that grows to twice the most it ever held
and shrinks only when the stream is over. With all of it in the core, a hundred streams that were quick one after the
other would hold a hundred times what may be in flight at once, and how many were quick is a matter of who was
scheduled when. So each stream has a share of its own, small at first, which grows while it is the acknowledgements that
a stream waits for, out of an allowance that all of them have in common.

The core does not tell what of a stream was acknowledged. It tells which packets are outstanding: once all that were so
at a `_Mark` are acknowledged, what was sent before it is.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pyconnector.transport.errors import StreamReset
from pyconnector.transport.quic.flow.receive_window import Allowance

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.internals import QuicConnectionCore
    from pyconnector.transport.quic.qh3_engine.stream import Qh3Stream

#: Bytes of a stream that the core may hold however many there are.
SMALLEST_SHARE = 64 * 1024
#: Bytes of one stream that it may hold at most: what a path of 100 ms needs for 40 MB/s.
LARGEST_SHARE = 4 * 1024 * 1024
#: Bytes that the shares of a connection's streams may grow by, together.
SHARED_GROWTH = 6 * 1024 * 1024
#: Bytes that are worth a call into the core, unless nothing else waits.
_STEP = 16 * 1024
#: Times that a mark is set anew because packets were lost since: their bytes were sent again after it.
_REMARKS = 3


class _Mark(NamedTuple):
    """What was sent when it was set: bytes of the stream, and the newest packet of the connection."""

    sent: int
    packet: int
    position: int
    "Bytes of all packets so far."
    losses: tuple[int, int]
    remarks: int


class SendShare:
    """The share of one stream that was given more than `SMALLEST_SHARE` so far, and what waits beyond it."""

    __slots__ = ("_mark", "_pieces", "_released", "ends", "handed", "limit", "stream_id", "waiting")

    def __init__(self, stream_id: int, handed: int) -> None:
        self.stream_id = stream_id
        self.handed = handed
        "Bytes that the core was given."
        self.limit = SMALLEST_SHARE
        self.waiting = 0
        "Bytes that it was not."
        self.ends = False
        "Whether the stream ends after what waits."
        self._pieces: deque[memoryview] = deque()
        self._released = 0  # of `handed`, what the core surely holds no more
        self._mark: _Mark | None = None

    def __repr__(self) -> str:
        return f"<SendShare {self.stream_id} limit={self.limit} waiting={self.waiting}>"

    @property
    def room(self) -> int:
        """Bytes that the core may be given now."""
        return self.limit - (self.handed - self._released)

    @property
    def is_short(self) -> bool:
        """Whether there is no room for the next piece."""
        return bool(self._pieces) and self.room < len(self._pieces[0])

    @property
    def wants_mark(self) -> bool:
        """Whether half of it is used up and no mark is set."""
        return self._mark is None and 2 * self.room < self.limit

    def add(self, data: bytes, ends: bool) -> None:
        """Let `data` wait, and the end of the stream with `ends`."""
        self.ends = ends
        if data:
            self._pieces.append(memoryview(data))
            self.waiting += len(data)

    def take(self, room: int) -> memoryview | None:
        """Return the next piece of at most `room` bytes for the core, or None where it is not worth it."""
        if not self._pieces:
            return None
        piece = self._pieces[0]
        if len(piece) <= room:
            self._pieces.popleft()
        elif room < _STEP:
            return None
        else:
            self._pieces[0] = piece[room:]
            piece = piece[:room]
        self.waiting -= len(piece)
        self.handed += len(piece)
        return piece

    def drop(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self.waiting = 0
        self.ends = False

    def look(self, core: QuicConnectionCore) -> bool:
        """Find out what was acknowledged; whether all that the core was given was sent, so that growing helps."""
        sent_by_core = core.active_path[3]
        mark = self._mark
        if mark is not None and sent_by_core - core.bytes_in_flight < mark.position:
            return False  # what was sent until then cannot all be acknowledged
        unsent = core.get_send_buffer_size(self.stream_id)
        sent = self.handed - unsent
        packets = core.outstanding_application_packets
        if not packets:
            self._released = sent
            self._mark = None
            return not unsent
        losses = (core.loss_total, core.pto_total)
        newest = packets[-1][0]
        if mark is not None and packets[0][0] > mark.packet:
            if mark.losses == losses or mark.remarks >= _REMARKS:
                self._released = max(self._released, mark.sent)
                mark = None
            else:
                mark = _Mark(mark.sent, newest, sent_by_core, losses, mark.remarks + 1)
        self._mark = mark or _Mark(sent, newest, sent_by_core, losses, 0)
        return not unsent


class SendShares:
    """The shares of a connection's streams."""

    def __init__(self) -> None:
        self.waiting: dict[int, Qh3Stream] = {}
        "The streams of which something waits."
        self._allowance = Allowance(SHARED_GROWTH)

    def __repr__(self) -> str:
        return f"<SendShares waiting={len(self.waiting)} {self._allowance}>"

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the core was not given."""
        return sum(stream.waiting for stream in self.waiting.values()) if self.waiting else 0

    def hand_over(self) -> None:
        """Give the core what has room now, of every stream."""
        for stream in tuple(self.waiting.values()):
            with contextlib.suppress(StreamReset):  # its writer was told
                stream.hand_over_share()

    def grow(self, share: SendShare) -> None:
        """Double a share, as far as there is something to grow by."""
        share.limit += self._allowance.take(min(share.limit, LARGEST_SHARE - share.limit))

    def give_back(self, share: SendShare) -> None:
        """The stream is over. Idempotent."""
        self._allowance.give_back(share.limit - SMALLEST_SHARE)
        share.limit = SMALLEST_SHARE
