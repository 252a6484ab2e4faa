"""What every kind of visitor's socket needs: to know when it takes more, and to be cut off so that it shows."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

_LINGER_NOT_AT_ALL = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def reset_connection(transport: asyncio.Transport) -> None:
    """Drop the connection with a TCP reset, so that the visitor does not take what it has for all there is."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
        except OSError:
            pass  # it is gone already
    transport.abort()


class WriteGate:
    """Whether a socket takes more: follows pause_writing and resume_writing."""

    __slots__ = ("_waiter", "paused")

    def __init__(self) -> None:
        self.paused = False
        self._waiter: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """The socket's buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """It has room again, or will never need any."""
        self.paused = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it has room. Cancel at any time."""
        while self.paused:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
