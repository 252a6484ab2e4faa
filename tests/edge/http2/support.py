"""An edge with one HTTP/2 visitor and a scripted connector, and scripts for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.protocol.http.headers import response_metadata
from pyconnector.protocol.streams.connect import ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER
from tests.edge.support import memory_edge, visitors
from tests.support.peers.h2_visitor import H2Visitor, h2_visitor
from tests.support.peers.scripted_connector import Exchange, Script, connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.edge import LocalEdge
    from pyconnector.transport.memory import MemoryLimits


async def scenario(
    script: Script,
    play: Callable[[H2Visitor, LocalEdge], Awaitable[None]],
    *,
    settings: dict[int, int] | None = None,
    hold: bool = False,
    receive_buffer: int | None = None,
    limits: MemoryLimits | None = None,
    **visitor_settings: object,
) -> list[Exchange]:
    """Play with one visitor at an edge whose connector follows `script`; returns the exchanges that it saw."""
    seen: list[Exchange] = []

    async def recorded(exchange: Exchange) -> None:
        seen.append(exchange)
        await script(exchange)

    async with memory_edge(visitors=visitors(**visitor_settings)) as edge:
        connector = await connected(edge, recorded, limits=limits)
        connecting = h2_visitor(edge.visitor_address, settings=settings, hold=hold, receive_buffer=receive_buffer)
        async with await connecting as visitor:
            await play(visitor, edge)
        await connector.close()
    return seen


async def hello(exchange: Exchange) -> None:
    await exchange.answer(200, [(b"Content-Length", b"5"), (b"X-A", b"1"), (b"X-A", b"2")], b"hello")
    exchange.stream.finish()


def framed_head(*headers: tuple[bytes, bytes], status: int = 200) -> bytes:
    metadata = (*response_metadata(status, headers), TRAILERS_OFFER)
    return encode_connect_response(ConnectResponse(metadata=metadata))


async def streaming_echo(exchange: Exchange) -> None:
    await exchange.answer(200)
    while piece := await exchange.receive():
        await exchange.stream.send(piece)
    exchange.stream.finish()


async def failing(exchange: Exchange) -> None:
    await exchange.fail("dial tcp: 100% refused <ä>")
