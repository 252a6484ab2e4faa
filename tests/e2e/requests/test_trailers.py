"""Trailers of an HTTP/1.1 service through the whole house, to visitors who take them and to others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.support.houses.house import House, open_house
from tests.support.peers.h2_visitor import h2_visitor
from tests.support.peers.raw_origin import raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.peers.raw_origin import Peer

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\nPyconnector-Trailers: mine\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-Digest: abc\r\nHost: x\r\n\r\n"
)


async def play(scene: Callable[[House], Awaitable[None]], engine: str) -> list[bytes]:
    """Play at a house whose only service answers with trailers; returns the request heads that it got."""
    heads: list[bytes] = []

    async def serve(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append(await peer.head())
                await peer.send(RESPONSE)

    async with raw_origin(serve) as origin:
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}"}], engine=engine) as house:
            await scene(house)
    return heads


async def test_to_visitors_over_http1(engine: str) -> None:
    async def scene(house: House) -> None:
        async with RawVisitor(house.edge.visitor_address) as visitor:
            for _ in range(2):
                visitor.send(get("/", "app.test", "TE: trailers"))
                head = await visitor.head()
                assert head.field("Pyconnector-Trailers") == "mine"  # a header of that name is a header
                assert head.field("Trailer") is None
                assert await visitor.chunk() == b"hello"
                assert await visitor.reader.readuntil(b"\r\n\r\n") == b"0\r\nX-Digest: abc\r\n\r\n"
            plain = await visitor.request(get())
            assert plain.body == b"hello"

    heads = await play(scene, engine)
    assert [b"\r\nTe: trailers\r\n" in head for head in heads] == [True, True, False]
    assert not [head for head in heads if b"pyconnector" in head.lower()]


async def test_to_visitors_over_http2(engine: str) -> None:
    async def scene(house: House) -> None:
        async with await h2_visitor(house.edge.visitor_address) as visitor:
            answer = await visitor.ask((b"te", b"trailers"))
            assert (bytes(answer.body), answer.trailers) == (b"hello", [(b"x-digest", b"abc")])
            answer = await visitor.ask()
            assert (bytes(answer.body), answer.trailers) == (b"hello", None)

    await play(scene, engine)
