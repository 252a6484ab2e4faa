"""Joins a program with what it reaches: bytes both ways, and the end of each direction where sides have one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

#: Seconds for which the far side may be silent after the program has sent everything, before it is told so. Only where
#: it cannot be told without ending its own direction too: over TLS and in a WebSocket.
SILENCE_AFTER_END: Final = 5.0
#: Bytes that are read of a socket at once.
PIECE: Final = 64 * 1024
#: On, and for no time: what is closed then is reset.
_RESET: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class End(Protocol):
    """One side. One task receives of it and another sends to it."""

    @property
    def half_closes(self) -> bool:
        """Whether `finish` leaves the other direction open."""

    async def receive(self) -> bytes:
        """Return bytes, b"" at the end or where it was aborted from here. Cancel loses none. Raises OSError."""

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting while the side takes less than comes. Raises OSError."""

    def finish(self) -> None:
        """Say that nothing more is sent. Idempotent."""

    def close(self) -> None:
        """End in good order. Idempotent."""

    def abort(self) -> None:
        """Break off. Idempotent."""


class Carrier(End, Protocol):
    """A far side that packets travel over too."""

    @property
    def has_ended(self) -> bool:
        """Whether the far side is known to send no more."""

    def send_now(self, data: bytes, most: int) -> bool:
        """Send bytes without waiting; False where more than `most` wait already, or it is gone."""


@dataclass(slots=True)
class Traffic:
    """Bytes that were carried."""

    sent: int = 0
    received: int = 0


async def join(near: End, far: End, traffic: Traffic | None = None) -> None:
    """Carry bytes both ways until both directions have ended. Cancel, or a failure of one side, breaks off both.

    Raises:
        OSError: the far side broke off, or the program would not take what came.
    """
    traffic = traffic or Traffic()
    heard = asyncio.Event()
    sending = asyncio.create_task(_send(near, far, heard, traffic), name="agent to the far side")
    try:
        while data := await far.receive():
            heard.set()
            traffic.received += len(data)
            await near.send(data)
        if far.half_closes:
            near.finish()
            await sending
        far.close()
        near.close()
    except BaseException:
        far.abort()
        near.abort()
        raise
    finally:
        sending.cancel()
        await asyncio.wait((sending,))


async def _send(near: End, far: End, heard: asyncio.Event, traffic: Traffic) -> None:
    try:
        while data := await near.receive():
            traffic.sent += len(data)
            await far.send(data)
    except OSError:
        far.abort()  # what `far.receive` makes of it is the reason
        return
    if not far.half_closes:
        await _silence(heard)
    far.finish()


async def _silence(heard: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        while True:
            heard.clear()
            async with asyncio.timeout(SILENCE_AFTER_END):
                await heard.wait()


class SocketEnd:
    """A connection of asyncio's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._aborted = False

    @property
    def half_closes(self) -> bool:
        """See `End.half_closes`: TLS connections do not."""
        return self._writer.can_write_eof()

    @property
    def has_ended(self) -> bool:
        """See `Carrier.has_ended`."""
        return self._reader.at_eof() or self._writer.transport.is_closing()

    async def receive(self) -> bytes:
        """See `End.receive`."""
        try:
            return await self._reader.read(PIECE)
        except OSError:
            if self._aborted:
                return b""
            raise

    async def send(self, data: bytes) -> None:
        """See `End.send`."""
        if self._writer.transport.is_closing():  # uvloop's raises what is no OSError
            raise ConnectionResetError("the connection is gone")
        self._writer.write(data)
        await self._writer.drain()

    def send_now(self, data: bytes, most: int) -> bool:
        """See `Carrier.send_now`."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > most:
            return False
        self._writer.write(data)
        return True

    def finish(self) -> None:
        """See `End.finish`."""
        if not self.half_closes:
            self._writer.close()
        elif not self._writer.transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()

    def close(self) -> None:
        """See `End.close`."""
        self._writer.close()

    def abort(self) -> None:
        """See `End.abort`: the other side sees a reset, which no end in good order looks like."""
        self._aborted = True
        reset(self._writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off so that its other side sees it broken. Idempotent."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError, ValueError):  # it is gone
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
