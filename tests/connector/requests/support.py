"""What tests of the request path read and wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.transport.errors import StreamReset

if TYPE_CHECKING:
    from pyconnector.origins.base import ByteReader, OriginResponse
    from pyconnector.transport.seam import Stream


async def read_body(body: ByteReader) -> bytes:
    data = b""
    while piece := await body.receive():
        data += piece
    return data


async def aborted(stream: Stream) -> bool:
    """Whether the connector reset the stream, whatever it had sent before."""
    try:
        async with asyncio.timeout(5):
            while await stream.receive():
                pass
    except StreamReset:
        return True
    return False


async def later(response: OriginResponse) -> OriginResponse:
    return response


async def waiting(event: asyncio.Event) -> OriginResponse:
    await event.wait()
    raise AssertionError
