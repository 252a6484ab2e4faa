"""Moves a response from an origin to the edge. The other direction is read by the origin itself.

Written for the hot path: a response that is already there leaves in one piece, head and body and end together,
without a suspension. Called by `connector.requests.path` for every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.origins.base import OriginError
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from pyconnector.connector.requests.exchange import Exchange
    from pyconnector.origins.base import OriginResponse


async def pump(exchange: Exchange, response: OriginResponse) -> None:
    """Send the body of `response` behind the head that `exchange` holds, then its end.

    Cancel leaves the exchange unfinished: the caller aborts it and the response.

    Raises:
        OriginError: the origin broke off, or its trailers cannot be carried.
        TransportError: the edge no longer wants it.
    """
    receive_nowait = response.receive_nowait
    piece = receive_nowait()
    while True:
        if piece is None:
            if exchange.flush():
                await exchange.drain()
            piece = await response.receive()
        if not piece:
            break
        following = receive_nowait()
        if following == b"":
            break
        if exchange.send_nowait(piece):
            await exchange.drain()
        piece = following
    try:
        exchange.finish(piece, response.trailers)
    except ProtocolError as error:
        raise OriginError(f"its trailers cannot be carried: {error}") from error
