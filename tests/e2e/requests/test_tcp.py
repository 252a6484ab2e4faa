"""TCP through edge and connector: as a tcp:// hostname (WebSocket frames) and as a private-network stream."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pyconnector.ingress import parse_ingress
from tests.support.houses.house import House, open_house
from tests.support.loop.leaks import nothing_left
from tests.support.peers.raw_origin import Peer, RawOrigin, Script, raw_origin
from tests.support.peers.raw_visitor import RawVisitor

MEGABYTES = 8 * 1024 * 1024
CARRIAGES = ["websocket", "private"]


@pytest.fixture(params=CARRIAGES)
def carriage(request: pytest.FixtureRequest) -> str:
    """How the edge carries the bytes."""
    return str(request.param)


@asynccontextmanager
async def port_to(
    script: Script, carriage: str, engine: str = "aioquic"
) -> AsyncIterator[tuple[int, House, RawOrigin]]:
    """A TCP port of the edge that leads to `script`."""
    async with raw_origin(script) as origin:
        service = f"127.0.0.1:{origin.port}"
        rules = [{"hostname": "db.test", "service": f"tcp://{service}"}, {"service": "http_status:404"}]
        async with open_house(rules, engine=engine) as house:
            yield await house.edge.add_tcp_port("db.test" if carriage == "websocket" else service), house, origin
            # Whoever has just left is not cut off at the service too by a house that closes meanwhile.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while house.connector.statistics().active_requests:
                        await asyncio.sleep(0.001)


async def echo(peer: Peer) -> None:
    while data := await peer.reader.read(65_536):
        peer.writer.write(data)
        await peer.writer.drain()


async def test_bytes_of_any_size_come_back(carriage: str, engine: str) -> None:
    async with port_to(echo, carriage, engine) as (port, _, _), RawVisitor(("127.0.0.1", port)) as visitor:
        for size in (1, 125, 126, 65_535, 65_536, 1_000_003):
            data = os.urandom(size)
            visitor.send(data)
            assert await visitor.reader.readexactly(size) == data


async def test_megabytes_both_ways_at_once(carriage: str, engine: str) -> None:
    async with port_to(echo, carriage, engine) as (port, _, _), RawVisitor(("127.0.0.1", port)) as visitor:
        data = os.urandom(MEGABYTES)

        async def send() -> None:
            for start in range(0, MEGABYTES, 1 << 18):
                visitor.send(data[start : start + (1 << 18)])
                await visitor.writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            assert await visitor.reader.readexactly(MEGABYTES) == data


async def test_the_visitor_ends_first_and_still_receives(carriage: str, engine: str) -> None:
    async def count(peer: Peer) -> None:
        data = await peer.rest()  # returns at the visitor's end only
        await asyncio.sleep(0)
        await peer.send(hashlib.sha256(data).hexdigest().encode())

    async with port_to(count, carriage, engine) as (port, house, _), RawVisitor(("127.0.0.1", port)) as visitor:
        async with nothing_left():
            async with RawVisitor(("127.0.0.1", port)) as second:
                for who in (visitor, second):
                    data = os.urandom(300_000)
                    who.send(data)
                    who.writer.write_eof()
                    assert (await who.reader.read()).decode() == hashlib.sha256(data).hexdigest()
        assert house.connector.statistics().active_requests == 0


async def test_the_origin_ends_first_and_still_receives(carriage: str, engine: str) -> None:
    received = asyncio.Queue[bytes]()

    async def greet_and_end(peer: Peer) -> None:
        await peer.send(b"goodbye")
        peer.half_close()
        await received.put(await peer.rest())

    async with port_to(greet_and_end, carriage, engine) as (port, _, _):
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            assert await visitor.reader.read() == b"goodbye"
            for number in range(10):
                visitor.send(b"%d" % number * 1000)
                await visitor.writer.drain()
            visitor.writer.write_eof()
            assert await received.get() == b"".join(b"%d" % number * 1000 for number in range(10))


async def test_a_visitor_who_resets_resets_the_origin(carriage: str, engine: str) -> None:
    reset = asyncio.Queue[bool]()

    async def watch(peer: Peer) -> None:
        await peer.send(b"ready")
        try:
            await peer.rest()
            await reset.put(False)
        except ConnectionResetError:
            await reset.put(True)

    async with port_to(watch, carriage, engine) as (port, _, _):
        async with nothing_left():
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                assert await visitor.reader.readexactly(5) == b"ready"
                visitor.send(b"half a")
                visitor.abort()
                async with asyncio.timeout(30):
                    assert await reset.get(), "the origin saw an orderly end"


async def test_an_origin_that_resets_resets_the_visitor(carriage: str, engine: str) -> None:
    async def die(peer: Peer) -> None:
        assert await peer.exactly(5) == b"hello"
        await peer.send(b"part of")
        peer.reset()

    async with port_to(die, carriage, engine) as (port, _, _):
        async with nothing_left():
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                visitor.send(b"hello")
                with pytest.raises(ConnectionResetError):
                    await visitor.reader.read()


async def test_a_destination_that_refuses_resets_the_visitor_and_says_why(
    carriage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with port_to(echo, carriage) as (_, house, origin):
        closed = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        nowhere = closed.sockets[0].getsockname()[1]
        closed.close()
        await closed.wait_closed()
        if carriage == "websocket":
            rules = parse_ingress({"ingress": [{"service": f"tcp://127.0.0.1:{nowhere}"}]})
            await house.connector.reload(replace(house.connector.config, ingress=rules))
            port = await house.edge.add_tcp_port("other.test")
        else:
            port = await house.edge.add_tcp_port(f"127.0.0.1:{nowhere}")
        caplog.clear()
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            with pytest.raises(ConnectionResetError):
                await visitor.reader.read()
        (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert said.getMessage().endswith(f"127.0.0.1:{nowhere} refused the connection")
        assert not origin.peers
