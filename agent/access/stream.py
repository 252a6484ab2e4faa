"""One connection to a TCP service behind Access: bytes in binary frames of a WebSocket, both ways."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from pyconnector.agent.access.errors import AccessError
from pyconnector.web.websocket.frames import (
    BINARY,
    CLOSE,
    GOING_AWAY,
    NORMAL,
    PING,
    PONG,
    FrameDecoder,
    FrameError,
    Piece,
    close_code,
    masked_frame,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Payload of one frame that is sent: the reference's connector cuts off what goes beyond its copy buffer.
MAX_FRAME: Final = 16 * 1024
#: Bytes that are read of the edge at once, and that wait to be sent before `send` waits.
PIECE: Final = 64 * 1024
HIGH_WATER: Final = 256 * 1024
_ORDERLY: Final = (NORMAL, GOING_AWAY, 1005)

_log = logging.getLogger("pyconnector.access")


class AccessStream:
    """Bytes of the service: an `End` of `agent.carry`. One task may receive and another send."""

    half_closes = False

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        why_broken: Callable[[], Awaitable[AccessError]],
    ) -> None:
        """`why_broken` finds out why the edge broke off, once it has."""
        self._reader = reader
        self._writer = writer
        self._why_broken = why_broken
        self._frames = FrameDecoder(masked=False)
        self._closing = False
        self._ended = False
        self._failure: AccessError | None = None
        self.sent = self.received = 0
        writer.transport.set_write_buffer_limits(high=HIGH_WATER)

    def __repr__(self) -> str:
        return f"<AccessStream sent={self.sent} received={self.received}{' closing' if self._closing else ''}>"

    async def receive(self) -> bytes:
        """Return bytes of the service, b"" at its end. Cancel at any time: no byte is lost.

        Raises:
            AccessError: the edge broke the connection off; the text says why, as far as it can be found out.
        """
        while not self._ended:
            data = b""
            if not self._frames.has_more:
                try:
                    data = await self._reader.read(PIECE)
                except OSError as error:
                    _log.debug("the connection to the edge ended: %s", error)
                if not data:
                    await self._broken()
                    break
            payload = self._take(data)
            if payload:
                self.received += len(payload)
                return payload
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return b""

    async def send(self, data: bytes) -> None:
        """Send bytes to the service; waits while the edge takes less than comes. Cancel may have sent some of them.

        Raises:
            OSError: the connection is gone. `receive` says why.
        """
        if self._writer.transport.is_closing():
            raise ConnectionResetError("the connection to the edge is gone")
        for start in range(0, len(data), MAX_FRAME):
            self._write(BINARY, data[start : start + MAX_FRAME])
        self.sent += len(data)
        await self._writer.drain()

    def finish(self) -> None:
        """Say that nothing more is sent: the service has a moment for the rest of its answer. Idempotent."""
        self._say_close(NORMAL)

    def abort(self) -> None:
        """Break the connection off. Idempotent."""
        self._ended = True
        self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection in good order. Idempotent."""
        self._say_close(NORMAL)
        self._ended = True
        self._writer.close()

    async def _broken(self) -> None:
        """The connection ended without a Close frame: an end all the same where we broke it off, or said Close."""
        if not self._ended and not self._closing:
            self._failure = await self._why_broken()
        self._ended = True

    def _take(self, data: bytes) -> bytes:
        payload: list[bytes] = []
        pong: bytes | None = None
        try:
            frames = self._frames.feed(data)
        except FrameError as error:
            self._say_close(error.code)
            self._ended = True
            self._failure = AccessError(f"the edge does not speak WebSocket: {error.reason}")
            return b""
        for found in frames:
            if isinstance(found, Piece):
                payload.append(found.payload)
            elif found.opcode == PING:
                pong = found.payload  # only the last needs an answer (RFC 6455 5.5.3)
            elif found.opcode == CLOSE:
                self._ended = True
                code = close_code(found.payload)
                self._say_close(code if code in _ORDERLY else NORMAL)
                if code not in _ORDERLY:
                    self._failure = AccessError(_reason(found.payload))
                break
        if pong is not None and not self._closing:
            self._write(PONG, pong)
        return b"".join(payload)

    def _say_close(self, code: int) -> None:
        if not self._closing:
            self._write(CLOSE, b"" if code == 1005 else code.to_bytes(2))
            self._closing = True

    def _write(self, opcode: int, payload: bytes) -> None:
        if not self._closing and not self._writer.transport.is_closing():
            self._writer.write(masked_frame(opcode, payload, os.urandom(4)))


def _reason(payload: bytes) -> str:
    words = "".join(char for char in payload[2:].decode("utf-8", "replace") if char.isprintable())
    return f"the connection was closed from behind: {words or f'code {close_code(payload)}'}"
