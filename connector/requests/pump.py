"""Moves a response from an origin to the edge. The other direction is read by the origin itself.

Written for the hot path: a response that is already there leaves in one piece, head and body and end together,
without a suspension. Called by `connector.requests.path` for every request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.origins.base import OriginError
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.connector.requests.exchange import Exchange
    from pyconnector.origins.base import OriginResponse


async def pump(exchange: Exchange, response: OriginResponse, timeout: float = 0.0) -> None:
    """Send the body of `response` behind the head that `exchange` holds, then its end.

    The edge must take what waits within `timeout` seconds each time; 0 for any time. Cancel leaves the exchange
    unfinished: the caller aborts it and the response.

    Raises:
        OriginError: the origin broke off, or its trailers cannot be carried.
        TransportError: the edge no longer wants it.
    """
    receive_nowait = response.receive_nowait
    piece = receive_nowait()
    while True:
        if piece is None:
            if exchange.flush():
                await _drain(exchange, timeout)
            piece = await response.receive()
        if not piece:
            break
        following = receive_nowait()
        if following == b"":
            break
        if exchange.send_nowait(piece):
            await _drain(exchange, timeout)
        piece = following
    try:
        exchange.finish(piece, response.trailers)
    except ProtocolError as error:
        raise OriginError(f"its trailers cannot be carried: {error}") from error


async def _drain(exchange: Exchange, timeout: float) -> None:
    if not timeout:
        await exchange.drain()
        return
    try:
        async with asyncio.timeout(timeout):
            await exchange.drain()
    except TimeoutError:
        raise TransportError(f"the edge did not take what waits within {timeout:g} s (write-stream-timeout)") from None
