"""Trailers to HTTP/1.1 visitors: offered to connectors where a visitor takes them, and only there."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.protocol.http.headers import response_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER, encode_data, encode_trailers
from tests.edge.support import memory_edge
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, Script, connected

pytestmark = pytest.mark.usefixtures("each_loop")

TRAILERS = [(b"Grpc-Status", b"0"), (b"x-check", b"\xc3\xa4"), (b"Content-Length", b"7"), (b"Trailer", b"x")]


def framed_head(*headers: tuple[bytes, bytes], status: int = 200) -> bytes:
    metadata = (*response_metadata(status, headers), TRAILERS_OFFER)
    return encode_connect_response(ConnectResponse(metadata=metadata))


async def framed(exchange: Exchange) -> None:
    exchange.stream.send_nowait(framed_head() + encode_data(b"one") + encode_data(b"two")[:6])
    await asyncio.sleep(0.01)
    exchange.stream.send_nowait(encode_data(b"two")[6:] + encode_trailers(TRAILERS), finish=True)


async def visit(script: Script, *requests: bytes, answers: list[bytes]) -> list[Exchange]:
    """Send the requests on one connection, and compare what comes back, to the last byte."""
    seen: list[Exchange] = []

    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:

        async def recorded(exchange: Exchange) -> None:
            seen.append(exchange)
            await script(exchange)

        connector = await connected(edge, recorded)
        for request, answer in zip(requests, answers, strict=True):
            visitor.send(request)
            head = await visitor.reader.readuntil(b"\r\n\r\n")
            assert TRAILERS_OFFER[0].lower() not in head.lower()
            assert await visitor.reader.readexactly(len(answer)) == answer
        await connector.close()
    return seen


CHUNKS = b"4\r\nonet\r\n2\r\nwo\r\n0\r\nGrpc-Status: 0\r\nx-check: \xc3\xa4\r\n\r\n"


async def test_a_visitor_who_takes_trailers_gets_them_behind_the_last_chunk() -> None:
    request = get("/", "app.test", "TE: gzip;q=0.5, Trailers")
    exchanges = await visit(framed, request, request, answers=[CHUNKS] * 2)
    for exchange in exchanges:
        assert TRAILERS_OFFER in exchange.request.metadata
        assert exchange.headers("Te") == ["trailers"]


async def test_other_visitors_are_offered_to_nobody() -> None:
    async def plain(exchange: Exchange) -> None:
        assert exchange.request.type in (ConnectionType.HTTP, ConnectionType.WEBSOCKET)
        # A connector that frames unasked is taken at its word: a body is raw.
        exchange.stream.send_nowait(framed_head((b"Content-Length", b"8")) + encode_data(b"one"), finish=True)

    websocket = get("/", "app.test", "TE: trailers", "Connection: Upgrade", "Upgrade: websocket")
    requests = [get(), get("/", "app.test", "TE: gzip"), get("/", "app.test", f"{TRAILERS_OFFER[0].decode()}: 1")]
    for request in (*requests, websocket):
        (exchange,) = await visit(plain, request, answers=[encode_data(b"one")])
        assert TRAILERS_OFFER not in exchange.request.metadata
        assert exchange.headers("Te") == []


async def test_an_answer_that_ignores_the_offer_is_raw() -> None:
    async def plain(exchange: Exchange) -> None:
        await exchange.answer(200, [], b"raw")
        exchange.stream.finish()

    await visit(plain, get("/", "app.test", "TE: trailers"), answers=[b"3\r\nraw\r\n0\r\n\r\n"])


async def test_a_body_with_a_length_comes_without_its_trailers() -> None:
    async def sized(exchange: Exchange) -> None:
        head = framed_head((b"Content-Length", b"3"))
        exchange.stream.send_nowait(head + encode_data(b"one") + encode_trailers(TRAILERS), finish=True)

    await visit(sized, *[get("/", "app.test", "TE: trailers")] * 2, answers=[b"one", b"one"])


@pytest.mark.parametrize(
    "rest",
    [b"", encode_trailers(TRAILERS)[:-1], b"\2\0\0\0\1x", encode_trailers([]) + b"x", b"\1\0\0\0\3!:!"],
)
async def test_a_framed_body_that_breaks_never_looks_whole(rest: bytes) -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head() + encode_data(b"one"))
        await asyncio.sleep(0.01)
        exchange.stream.send_nowait(rest, finish=True)

    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        connector = await connected(edge, broken)
        visitor.send(get("/", "app.test", "TE: trailers"))
        await visitor.head()
        assert await visitor.chunk() == b"one"
        assert await visitor.reader.read() == b""
        await connector.close()


async def test_an_error_is_a_page_all_the_same() -> None:
    async def failing(exchange: Exchange) -> None:
        await exchange.fail("nobody home")

    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        connector = await connected(edge, failing)
        response = await visitor.request(get("/", "app.test", "TE: trailers"))
        assert response.status == 502
        await connector.close()
