"""What a connection receives: bytes in order, those that came ahead, and the window that is promised. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.transport.quic.flow.reassembly import Reassembly

if TYPE_CHECKING:
    from pyconnector.transport.ip.tcp.pool import Pool

#: Bytes that one connection may promise and hold; and those that it may whatever others hold.
RECEIVE_BUFFER: Final = 256 * 1024
LEAST_WINDOW: Final = 8 * 1024
#: Pieces that may wait behind gaps: each costs more than its bytes.
MAX_AHEAD: Final = 512


class Receiver:
    """Sequence numbers are whole numbers here (`segment.unwrap`)."""

    __slots__ = ("_ahead", "_fin", "_pool", "_ready", "_reserved", "edge", "ended", "next", "ready")

    def __init__(self, start: int, pool: Pool) -> None:
        self.next = start
        "What comes next."
        self.edge = start
        "What may not come yet: the end of the promised window."
        self.ready = 0
        "Bytes in order that nobody took."
        self.ended = False
        "Whether the peer's FIN was received, and all before it."
        self._pool = pool
        self._reserved = 0
        self._ready: deque[bytes] = deque()
        self._ahead = Reassembly()
        self._fin: int | None = None
        self.promise()

    def __repr__(self) -> str:
        return f"<Receiver ready={self.ready} ahead={len(self._ahead)} ended={self.ended}>"

    @property
    def window(self) -> int:
        """Bytes that are promised."""
        return max(self.edge - self.next, 0)

    @property
    def has_gap(self) -> bool:
        """Whether something waits for what comes before it."""
        return len(self._ahead) > 0

    def arrived(self, sequence: int, data: bytes, *, fin: bool) -> bool:
        """Take what a segment brings. Return whether it continued without a gap."""
        if self.ended:
            return False
        if fin and sequence + len(data) <= self.edge:
            self._fin = sequence + len(data)
        if sequence < self.next:
            data = data[self.next - sequence :]
            sequence = self.next
        data = data[: max(self.edge - sequence, 0)]
        in_order = sequence == self.next
        if data and in_order:
            self._deliver(data)
            if self._ahead:
                self._deliver(self._ahead.take(self.next))
        elif data and len(self._ahead) < MAX_AHEAD:
            self._ahead.insert(sequence, data)
        if self._fin is not None and self._fin <= self.next:
            self.next += 1
            self.ended = True
            self._ahead = Reassembly()
        return in_order

    def take(self, limit: int) -> bytes:
        """Return up to `limit` bytes, b"" where there are none now."""
        taken: list[bytes] = []
        left = limit
        while left and self._ready:
            piece = self._ready.popleft()
            if len(piece) > left:
                self._ready.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        count = limit - left
        self.ready -= count
        self._reserved -= count
        self._pool.give(count)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def could_promise(self) -> int:
        """Return how much more could be promised."""
        return self.next + RECEIVE_BUFFER - self.ready - self.edge

    def promise(self) -> None:
        """Promise as much as there is room for. What was promised stays so."""
        if self.ended:
            return
        wanted = self.could_promise()
        if wanted > 0:
            granted = self._pool.take(wanted, at_least=self.next + LEAST_WINDOW - self.ready - self.edge)
            self.edge += granted
            self._reserved += granted

    def settle(self) -> None:
        """Hold no more than what is ready: nothing else will come. Idempotent."""
        self._pool.give(self._reserved - self.ready)
        self._reserved = self.ready
        self._ahead = Reassembly()

    def release(self) -> None:
        """Hold nothing any more. Idempotent."""
        self._pool.give(self._reserved)
        self._reserved = self.ready = 0
        self._ready.clear()
        self._ahead = Reassembly()

    def _deliver(self, data: bytes) -> None:
        if data:
            self._ready.append(data)
            self.ready += len(data)
            self.next += len(data)
