"""Moves a response from an origin to an edge stream. The other direction is read by the origin itself.

Written for the hot path: a response that is already there leaves in one piece, head and body and end together,
without a suspension. Called by `connector.request_path` for every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingress.origins.base import OriginResponse
    from transport.seam import Stream

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
