"""A request body that may have to be offered to a service more than once: its start is kept for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.origins.base import ByteReader

#: Bytes of a request body that are kept until a service took the request. More, and it is offered only once.
MAX_REPLAY = 128 * 1024


class OfferedBody:
    """A body whose start can be read again, as long as no service took the request."""

    def __init__(self, body: ByteReader) -> None:
        self._body = body
        self._kept: list[bytes] | None = []
        self._size = 0
        self._again = b""
        self._ended = False

    @property
    def begun(self) -> bool:
        """Whether anything of it was taken."""
        return self._kept is None or bool(self._kept)

    def rewind(self) -> bool:
        """Offer it from its start again; False where too much was taken for that."""
        if self._kept is None:
            return False
        self._again = b"".join(self._kept)
        return True

    def settle(self) -> None:
        """A service took it: nothing has to be kept any more."""
        self._kept = None

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `ByteReader.receive_nowait`."""
        if self._again:
            return self._next_again(limit)
        return self._seen(self._body.receive_nowait(limit))

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `ByteReader.receive`. Cancel at any time: no byte is lost."""
        if self._again:
            return self._next_again(limit)
        data = await self._body.receive(limit)
        self._seen(data)
        return data

    def _next_again(self, limit: int) -> bytes:
        data, self._again = self._again[:limit], self._again[limit:]
        return data

    def _seen(self, data: bytes | None) -> bytes | None:
        if data and self._kept is not None:
            self._size += len(data)
            if self._size > MAX_REPLAY:
                self._kept = None
            else:
                self._kept.append(data)
        return data
