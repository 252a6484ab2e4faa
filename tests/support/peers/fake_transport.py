"""A socket's transport without a socket: counts what is written, and says what it was told."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

#: As of the transports of asyncio and uvloop.
HIGH_WATER = 64 * 1024


class FakeTransport(asyncio.Transport):
    """The peer takes nothing until `take`; above `HIGH_WATER` the protocol is told to pause."""

    def __init__(self, protocol: asyncio.Protocol, *, peer_is_gone: bool = False, greedy: bool = False) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.protocol = protocol
        self.reading = True
        self.closing = False
        self.aborted = False
        self.ended = False
        self.unsent = 0
        self.writes: list[bytes] = []
        self._peer_is_gone = peer_is_gone
        self._greedy = greedy

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        if self._greedy:
            return
        before, self.unsent = self.unsent, self.unsent + len(data)
        if before <= HIGH_WATER < self.unsent:
            self.protocol.pause_writing()

    def take(self) -> None:
        """The peer takes everything."""
        before, self.unsent = self.unsent, 0
        if before > HIGH_WATER:
            self.protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._peer_is_gone:
            raise OSError(errno.ENOTCONN, "as asyncio's own transport does")
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
