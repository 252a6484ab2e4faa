"""A response body whose connector sends trailers behind it (`protocol.streams.trailers`), read like any other body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.trailers import FramedBodyDecoder

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream


class FramedBody:
    """Reads as a stream does; at the end, `trailers` is complete.

    However small the connector's frames, so many are read in a row and no more; then the loop turns.
    """

    __slots__ = ("_decoder", "_first", "_stream")

    def __init__(self, stream: Stream, first: bytes) -> None:
        """`first` is what of the body arrived together with its head."""
        self._stream = stream
        self._first = first
        self._decoder = FramedBodyDecoder()

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The trailer fields, once the body is at its end."""
        return self._decoder.trailers or []

    def receive_nowait(self, limit: int) -> bytes | None:
        """Return bytes of the body, b"" at its end, None where nothing is there yet or others must have a turn first.

        Raises:
            ProtocolError: it is malformed, or ended too early.
            TransportError: the stream broke off.
        """
        while not self._decoder.finished:
            if self._decoder.has_more:
                return None
            data: bytes | None = self._first
            if data:
                self._first = b""
            else:
                data = self._stream.receive_nowait(limit)
            if data is None:
                return None
            if piece := self._decoded(data):
                return piece
        return b""

    async def receive(self, limit: int) -> bytes:
        """As `receive_nowait`, but wait. Cancel at any time: no byte is lost."""
        while (piece := self.receive_nowait(limit)) is None:
            if self._decoder.has_more:
                await asyncio.sleep(0)
                piece = self._fed(b"")
            else:
                piece = self._decoded(await self._stream.receive(limit))
            if piece:
                break
        return piece

    def _decoded(self, data: bytes) -> bytes:
        if not data:
            raise ProtocolError("The connector ended the response early.")
        return self._fed(data)

    def _fed(self, data: bytes) -> bytes:
        piece = self._decoder.feed(data)
        if self._decoder.leftover:
            raise ProtocolError("The connector sent more behind the end of the response.")
        return piece
