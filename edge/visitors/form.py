"""The body of a request that the edge answers itself: small, and read whole before it is looked at."""

from __future__ import annotations

import asyncio

from pyconnector.edge.visitors.http1.request_parser import BadRequest
from pyconnector.transport.errors import StreamClosed


class Form:
    """Takes a body as a stream of a tunnel would, up to `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Form {len(self._data)} of {self._most} bytes>"

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        """Take a piece; return False, for there is room for the next.

        Raises:
            StreamClosed: it is too much; nothing more is taken.
        """
        if self._done.done():
            raise StreamClosed("nothing more is taken")
        self._data += data
        if len(self._data) > self._most:
            self._data.clear()
            self.fail(BadRequest("The body of the request is too large.", 413))
            raise StreamClosed("the body is too large")
        if finish:
            self._done.set_result(None)
        return False

    async def drain(self) -> None:
        """Return at once. Cancel changes nothing."""

    def fail(self, fault: BadRequest) -> None:
        """The body is none. Idempotent."""
        if not self._done.done():
            self._done.set_exception(fault)

    async def whole(self) -> bytes:
        """Return the body once all of it came. Cancel at any time.

        Raises:
            BadRequest: it is too large, or malformed.
        """
        await self._done
        return bytes(self._data)
