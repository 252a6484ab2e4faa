"""A visitor who leaves: the origin's connection is closed at once, whatever stage the exchange has reached.

The issue asks for 100 ms; the time is printed, and what fails is only not closing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from tests.support.houses.house import House, open_house
from tests.support.loop.leaks import nothing_left
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

#: Wide of the mark of 100 ms: a busy machine may take its time.
LIMIT = 5.0

Stage = Callable[[Peer, asyncio.Event], Awaitable[None]]


async def before_the_response(peer: Peer, reached: asyncio.Event) -> None:
    await peer.head()
    reached.set()


async def during_the_response(peer: Peer, reached: asyncio.Event) -> None:
    await peer.head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nfirst")
    reached.set()


async def during_a_response_that_no_one_reads(peer: Peer, reached: asyncio.Event) -> None:
    await peer.head()
    peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    peer.writer.transport.set_write_buffer_limits(high=65_536)
    try:
        while True:
            peer.writer.write(b"x" * 65_536)
            async with asyncio.timeout(0.2):
                await peer.writer.drain()
    except TimeoutError:
        reached.set()


async def during_the_upload(peer: Peer, reached: asyncio.Event) -> None:
    await peer.head()
    assert await peer.exactly(5) == b"begin"
    reached.set()


async def during_a_websocket(peer: Peer, reached: asyncio.Event) -> None:
    await peer.head()
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    reached.set()


GET = get()
POST = b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nbegin"
UPGRADE = get(
    "/", "app.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
)
STAGES = [
    (before_the_response, GET),
    (during_the_response, GET),
    (during_a_response_that_no_one_reads, GET),
    (during_the_upload, POST),
    (during_a_websocket, UPGRADE),
]


@asynccontextmanager
async def origin_at(stage: Stage, engine: str) -> AsyncIterator[tuple[House, asyncio.Event, asyncio.Future[float]]]:
    """A house, an event for the stage being reached, and when the origin saw its connection close."""
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()
    closed: asyncio.Future[float] = loop.create_future()

    async def script(peer: Peer) -> None:
        await stage(peer, reached)
        try:
            while await peer.reader.read(65_536):
                pass
        except ConnectionError:
            pass
        closed.set_result(loop.time())

    async with raw_origin(script) as origin:
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}"}], engine=engine) as house:
            yield house, reached, closed


async def seen(closed: asyncio.Future[float], left_at: float, what: str) -> None:
    async with asyncio.timeout(LIMIT):
        took = await closed - left_at
    print(f"{what}: the origin saw it {took * 1000:.1f} ms after the visitor left")


@pytest.mark.parametrize(("stage", "request_bytes"), STAGES, ids=[stage.__name__ for stage, _ in STAGES])
@pytest.mark.parametrize("manner", ["reset", "close"])
async def test_the_origin_sees_its_visitor_leave(stage: Stage, request_bytes: bytes, manner: str, engine: str) -> None:
    async with origin_at(stage, engine) as (house, reached, closed), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(request_bytes)
            await reached.wait()
            left_at = asyncio.get_running_loop().time()
            visitor.abort() if manner == "reset" else visitor.writer.close()
            await seen(closed, left_at, f"{stage.__name__}, {manner}, {engine}")
        async with asyncio.timeout(LIMIT):
            while house.connector.statistics().active_requests:
                await asyncio.sleep(0.001)


async def test_a_websocket_client_that_leaves_politely_is_seen_too() -> None:
    async with origin_at(before_the_response, "aioquic") as (house, reached, closed):
        host, port = house.edge.visitor_address
        async with asyncio.TaskGroup() as group:

            async def visit() -> None:
                async with connect("ws://app.test/", host=host, port=port, proxy=None):
                    pytest.fail("there was no answer")

            visiting = group.create_task(visit())
            await reached.wait()
            left_at = asyncio.get_running_loop().time()
            visiting.cancel()
            await seen(closed, left_at, "a cancelled handshake")
