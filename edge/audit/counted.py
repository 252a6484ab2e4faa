"""Counts the bytes of an exchange's stream on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream


class CountedStream:
    """A stream that counts what passes; everything else of it is the stream's own."""

    __slots__ = ("_stream", "received", "sent")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.received = 0
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        """See `Stream.send_nowait`."""
        self.sent += len(data)
        return self._stream.send_nowait(data, finish=finish)

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `Stream.receive_nowait`."""
        data = self._stream.receive_nowait(limit)
        if data:
            self.received += len(data)
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `Stream.receive`. Cancel at any time: no byte is lost."""
        data = await self._stream.receive(limit)
        self.received += len(data)
        return data
