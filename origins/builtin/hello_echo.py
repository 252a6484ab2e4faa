"""A WebSocket that says back what it is told, of any size, for `hello_world`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.origins.tcp.tunnel import Tunnel
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FrameDecoder, FrameError

if TYPE_CHECKING:
    from pyconnector.origins.base import ByteReader, Headers

#: Bytes read of the visitor at once.
PIECE_BYTES = 64 * 1024


class EchoTunnel(Tunnel):
    """Both directions of the echo. It is its own source: a visitor who does not read is not read from."""

    def __init__(self, headers: Headers) -> None:
        super().__init__(101, headers)
        self._room = asyncio.Event()
        self._room.set()
        self.attach(self)

    def echo(self, body: ByteReader) -> None:
        """Start."""
        self.run(self._echo(body))

    def pause_reading(self) -> None:
        """The visitor has not read what was echoed."""
        self._room.clear()

    def resume_reading(self) -> None:
        """The visitor reads again."""
        self._room.set()

    async def _echo(self, body: ByteReader) -> None:
        decoder = FrameDecoder()
        try:
            while data := await body.receive(PIECE_BYTES):
                found = decoder.feed(data)
                while found:
                    for item in found:
                        if not self._say_back(item):
                            return
                    await self._room.wait()
                    if not decoder.has_more:
                        break
                    await asyncio.sleep(0)
                    found = decoder.feed(b"")
        except FrameError as error:
            self.put(frames.close_frame(error.code, error.reason))
        finally:
            self.end()

    def _say_back(self, item: frames.Piece | frames.Control) -> bool:
        if isinstance(item, frames.Piece):
            opcode = item.opcode if item.first else frames.CONTINUATION
            if item.payload or item.first or item.last:
                self.put(frames.frame(opcode, item.payload, fin=item.last))
        elif item.opcode == frames.PING:
            self.put(frames.frame(frames.PONG, item.payload))
        elif item.opcode == frames.CLOSE:
            self.put(frames.close_frame(frames.close_code(item.payload)))
            return False
        return True
