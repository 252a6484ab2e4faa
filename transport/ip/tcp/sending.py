"""What a connection sends: bytes until they are acknowledged, and which of them may be sent now. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyconnector.transport.ip.tcp.pool import Pool

#: Bytes that one connection may hold; and those that it may whatever others hold.
SEND_BUFFER: Final = 256 * 1024
LEAST_ROOM: Final = 8 * 1024


class Sender:
    """Sequence numbers are whole numbers here. The SYN is at `una` until it is acknowledged."""

    __slots__ = (
        "_acknowledged_by", "_base", "_data", "_pool", "_reserved", "_updated_by", "finishing", "highest", "max_window",
        "mss", "next", "una", "window",
    )  # fmt: skip

    def __init__(self, isn: int, mss: int, pool: Pool) -> None:
        self.una = self.next = isn
        "The first that is not acknowledged, and the next to send."
        self.highest = isn
        "Behind everything that was ever sent."
        self.mss = mss
        self.window = self.max_window = 0
        "Bytes that the peer promised, now and at most."
        self.finishing = False
        "Whether a FIN follows the data."
        self._base = isn + 1
        self._data = bytearray()
        self._pool = pool
        self._reserved = 0
        self._updated_by = -1
        self._acknowledged_by = isn

    def __repr__(self) -> str:
        return f"<Sender held={len(self._data)} flight={self.flight} window={self.window}>"

    @property
    def flight(self) -> int:
        """Bytes that are sent and not acknowledged."""
        return self.next - self.una

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        if self.finishing:
            return 0
        held = len(self._data)
        return min(SEND_BUFFER - held, max(self._pool.size - self._pool.used, LEAST_ROOM - held, 0))

    @property
    def end(self) -> int:
        """Behind all data, and the FIN if there is one."""
        return self._base + len(self._data) + self.finishing

    @property
    def is_idle(self) -> bool:
        """Whether everything is acknowledged."""
        return self.una == self.end

    @property
    def fin_sent(self) -> bool:
        """Whether the FIN was sent."""
        return self.finishing and self.highest == self.end

    def write(self, data: bytes) -> None:
        """Take data, not more than `room`."""
        self._reserved += self._pool.take(len(data), at_least=len(data))
        self._data += data

    def updated(self, sequence: int, acknowledgement: int, window: int) -> bool:
        """Take the window of a segment, unless a newer one was seen (RFC 9293 3.10.7.4). Return whether it changed."""
        if (sequence, acknowledgement) < (self._updated_by, self._acknowledged_by):
            return False
        self._updated_by, self._acknowledged_by = sequence, acknowledgement
        changed = window != self.window
        self.window = window
        self.max_window = max(self.max_window, window)
        return changed

    def acknowledged(self, upto: int) -> int:
        """Everything before `upto` arrived. Return how much of that was not known yet."""
        count = upto - self.una
        self.una = upto
        self.next = max(self.next, upto)
        data = min(upto - self._base, len(self._data))
        if data > 0:
            del self._data[:data]
            self._base += data
            self._pool.give(data)
            self._reserved -= data
        return count

    def next_piece(self, allowed: int) -> tuple[int, bytes, bool] | None:
        """Return sequence, data and whether FIN comes with it, of what may be sent now where `allowed` bytes may be on
        their way; None where nothing may. It counts as sent."""
        data_end = self._base + len(self._data)
        size = min(self.mss, data_end - self.next, self.una + min(allowed, self.window) - self.next)
        last = self.next + size == data_end
        if size < 0 or (size == 0 and not (last and self._may_fin(allowed))):
            return None
        if 0 < size < self.mss and not last and self.flight and size < self.max_window // 2:
            return None  # no silly windows (RFC 9293 3.8.6.2.1)
        fin = last and self._may_fin(allowed, size)
        if not size and not fin:
            return None
        piece = (self.next, self._at(self.next, size), fin)
        self.next += size + fin
        self.highest = max(self.highest, self.next)
        return piece

    def first_piece(self) -> tuple[int, bytes, bool]:
        """Return the segment at `una`, to be sent again. At least one byte has been sent."""
        sent = min(self.highest, self._base + len(self._data))
        data = self._at(self.una, min(self.mss, sent - self.una))
        fin = self.fin_sent and self.una + len(data) + 1 == self.end
        return self.una, data, fin

    def probe(self) -> tuple[int, bytes, bool]:
        """Return one byte, or the FIN, beyond a window that is closed (RFC 9293 3.8.6.1)."""
        data = self._at(self.una, 1)
        fin = not data and self.finishing
        self.highest = max(self.highest, self.una + len(data) + fin)
        return self.una, data, fin

    def start_again(self) -> None:
        """Send everything again that is not acknowledged, as it may be sent."""
        self.next = self.una

    def release(self) -> None:
        """Hold nothing any more. Idempotent."""
        self._pool.give(self._reserved)
        self._reserved = 0
        self._data.clear()

    def _may_fin(self, allowed: int, size: int = 0) -> bool:
        return self.finishing and self.next + size < self.una + min(allowed, self.window)

    def _at(self, sequence: int, size: int) -> bytes:
        at = sequence - self._base
        return bytes(self._data[at : at + size])
