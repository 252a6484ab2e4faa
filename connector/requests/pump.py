"""Moves a response from an origin to an edge stream. The other direction is read by the origin itself.

Written for the hot path: a response that is already there leaves in one piece, head and body and end together,
without a suspension. Called by `connector.requests.path` for every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.origins.base import OriginError
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.trailers import encode_data, encode_trailers

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginResponse
    from pyconnector.transport.seam import Stream

#: A head is joined with a first piece of body up to this size; beyond it the copy would cost more than a second write.
JOIN_LIMIT = 32 * 1024


async def pump(stream: Stream, head: bytes, response: OriginResponse) -> None:
    """Send `head`, then the body of `response`, then the end of the stream.

    Cancel leaves the stream unfinished: the caller resets it and aborts the response.

    Raises:
        OriginError: the origin broke off.
        StreamReset, ConnectionClosed: the edge no longer wants it.
    """
    receive_nowait = response.receive_nowait
    piece = receive_nowait()
    if piece is None or len(piece) > JOIN_LIMIT:
        if stream.send_nowait(head):
            await stream.drain()
        if piece is None:
            piece = await response.receive()
    elif not piece:
        stream.send_nowait(head, finish=True)
        return
    else:
        piece = head + piece
        following = receive_nowait()
        if following == b"":
            stream.send_nowait(piece, finish=True)
            return
        if stream.send_nowait(piece):
            await stream.drain()
        piece = following if following is not None else await response.receive()
    while piece:
        following = receive_nowait()
        if following == b"":
            stream.send_nowait(piece, finish=True)
            return
        if stream.send_nowait(piece):
            await stream.drain()
        piece = following if following is not None else await response.receive()
    stream.finish()


async def pump_framed(stream: Stream, head: bytes, response: OriginResponse) -> None:
    """As `pump`, for an edge that takes trailers: the body in frames, the last of them its trailers.

    Cancel leaves the stream unfinished: the caller resets it and aborts the response.

    Raises:
        OriginError: the origin broke off, or its trailers cannot be carried.
        StreamReset, ConnectionClosed: the edge no longer wants it.
    """
    pending = head
    while True:
        piece = response.receive_nowait()
        if piece is None:
            if pending and stream.send_nowait(pending):
                await stream.drain()
            pending = b""
            piece = await response.receive()
        if not piece:
            break
        pending += encode_data(piece)
        if len(pending) > JOIN_LIMIT:
            if stream.send_nowait(pending):
                await stream.drain()
            pending = b""
    try:
        end = encode_trailers(response.trailers)
    except ProtocolError as error:
        raise OriginError(f"its trailers cannot be carried: {error}") from error
    stream.send_nowait(pending + end, finish=True)
