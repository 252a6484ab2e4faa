"""What is open stays open: an hour of silence in virtual time, and every timer that is armed meanwhile, by name.

The QUIC connection itself is held by its keep-alive (tests/transport); everything above it is here.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pyconnector.edge.connectors.connection import REGISTRATION_TIMEOUT
from tests.differential.case import KEY, SWITCHING
from tests.support.houses.memory_house import memory_house
from tests.support.loop.clock import hours
from tests.support.peers.frames import masked, read_frames
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

pytestmark = pytest.mark.usefixtures("virtual_time")

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")


async def armed_timers() -> set[str]:
    """The callbacks of every timer that is armed once the connection is an old one (the edge's time to register)."""
    await asyncio.sleep(REGISTRATION_TIMEOUT)
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return {handle._callback.__qualname__ for handle in scheduled if not handle.cancelled()}


async def echo_after_switching(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    peer.writer.write(SWITCHING)
    await echo(peer)


async def echo(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await peer.reader.read(65_536):
            peer.writer.write(data)


async def test_a_websocket_that_is_silent_for_an_hour_lives_and_no_timer_waits_for_its_end() -> None:
    async with raw_origin(echo_after_switching) as origin:
        rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
        async with memory_house(rules) as edge, RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get("/", "ws.test", *UPGRADE))
            assert (await visitor.head()).status == 101
            visitor.send(b"before")
            assert await visitor.reader.readexactly(6) == b"before"
            # The one timer is that of all visitors together, which looks for those who are late.
            assert await armed_timers() == {"VisitorServer._check_time"}
            await asyncio.sleep(hours(1))
            assert await armed_timers() == {"VisitorServer._check_time"}
            visitor.send(b"after")
            assert await visitor.reader.readexactly(5) == b"after"


async def test_a_stream_rule_that_is_silent_for_an_hour_lives_on_pings_that_nobody_has_to_answer() -> None:
    async with raw_origin(echo) as origin:
        rules = [{"service": f"tcp://127.0.0.1:{origin.port}"}]
        async with memory_house(rules) as edge, RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get("/", "db.test", *UPGRADE))
            assert (await visitor.head()).status == 101
            assert await armed_timers() == {"VisitorServer._check_time", "WebSocketTunnel._ping"}
            await asyncio.sleep(hours(1))
            visitor.send(masked(2, b"query"))
            data = await visitor.reader.readuntil(b"query")
            *pings, answer = read_frames(data)
            assert {ping.opcode for ping in pings} == {9}
            assert len(pings) == (3600 + REGISTRATION_TIMEOUT) // 54
            assert answer.payload == b"query"


async def test_a_private_stream_that_is_silent_for_an_hour_lives() -> None:
    async with raw_origin(echo) as origin, memory_house([{"service": "http_status:404"}]) as edge:
        port = await edge.add_tcp_port(f"127.0.0.1:{origin.port}")
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            visitor.send(b"before")
            assert await visitor.reader.readexactly(6) == b"before"
            assert await armed_timers() == {"VisitorServer._check_time"}
            await asyncio.sleep(hours(1))
            visitor.send(b"after")
            assert await visitor.reader.readexactly(5) == b"after"


async def test_a_response_whose_body_pauses_for_an_hour_goes_on() -> None:
    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await asyncio.sleep(hours(1))
        await peer.send(b"data: 2\n\n")

    async with raw_origin(slow) as origin:
        rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
        async with memory_house(rules) as edge, RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            assert (await visitor.head()).status == 200
            assert await visitor.chunk() == b"data: 1\n\n"
            assert await visitor.chunk() == b"data: 2\n\n"
            assert await visitor.chunk() == b""
