"""What every kind of visitor's socket needs: who stops its reading, when it takes more, and ends that show.

The transports of asyncio and uvloop differ where the peer is gone already; the differences end here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from enum import IntFlag
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.edge.turns import Turns

#: Bytes a second that a visitor must take of what waits for it, on average over the time that it has to take any of it.
#: A modem took more; whoever takes less only keeps a stream and a service busy.
LEAST_RATE = 256.0

_LINGER_NOT_AT_ALL = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _QUEUED = None
else:
    _QUEUED = getattr(termios, "TIOCOUTQ", None) if sys.platform == "linux" else None


class Why(IntFlag):
    """Why a socket is not read. It is read again when no reason is left."""

    AHEAD = 1
    "Too much was sent ahead of its turn."
    FULL = 2
    "The far end takes no more."
    WORK = 4
    "What was read waits for a turn of the loop."


def reset_connection(transport: asyncio.Transport) -> None:
    """Drop the connection with a TCP reset, so that the visitor does not take what it has for all there is."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
        except OSError:
            pass  # it is gone already
    transport.abort()


def end_writing(transport: asyncio.WriteTransport) -> None:
    """Say that nothing follows what was written, and go on receiving; without such a half-close, close. Idempotent.

    A peer that has reset the connection is an ordinary leaver: asyncio's own transport raises then, uvloop's does not.
    """
    if transport.is_closing():
        return
    if not transport.can_write_eof():
        transport.close()
        return
    try:
        transport.write_eof()
    except (OSError, RuntimeError):
        transport.abort()


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how much of what was written the peer has not taken yet.

    Linux is asked for what its own buffer holds too: a large one lets a slow but honest reader look like a dead one.
    """
    unsent = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if _QUEUED is not None and sock is not None:
        try:
            unsent += int.from_bytes(fcntl.ioctl(sock.fileno(), _QUEUED, b"\0" * 4), sys.byteorder)
        except (OSError, ValueError):
            pass  # it is closed
    return unsent


class Unsent:
    """How much a visitor takes, from one look to the next. Nothing is written in between."""

    __slots__ = ("_last", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._last = 0

    def taken(self) -> int:
        """Return the bytes that were taken since the last look."""
        before, self._last = self._last, unsent_bytes(self._transport)
        return before - self._last


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


class VisitorSocket:
    """A visitor's transport with its two gates: reasons not to read it, and whether it takes more."""

    __slots__ = ("_reasons", "transport", "writing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.writing = WriteGate()
        self._reasons = Why(0)

    def __repr__(self) -> str:
        return f"<VisitorSocket not read because of {self._reasons!r}, write paused {self.writing.paused}>"

    @property
    def is_read(self) -> bool:
        """Whether nothing stops its reading."""
        return not self._reasons

    def pause_reading(self, why: Why) -> None:
        """Stop reading for this reason too. Idempotent."""
        if not self._reasons:
            self.transport.pause_reading()
        self._reasons |= why

    def resume_reading(self, why: Why = Why.AHEAD | Why.FULL | Why.WORK) -> None:
        """Drop these reasons, and read again if none is left. Idempotent."""
        if self._reasons:
            self._reasons &= ~why
            if not self._reasons and not self.transport.is_closing():
                self.transport.resume_reading()

    def drop(self, turns: Turns) -> None:
        """What was just read is of no use: read no more of it before a later turn.

        Else whoever sends without end has 32 reads in each turn of uvloop's, all for nothing.
        """
        if not self._reasons & Why.WORK:
            self.pause_reading(Why.WORK)
            turns.add(partial(self.resume_reading, Why.WORK))

    def close(self) -> None:
        """Close once what was written is out."""
        self.transport.close()

    def reset(self) -> None:
        """Drop it so that it shows."""
        reset_connection(self.transport)
