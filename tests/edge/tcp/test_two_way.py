"""WebSocket pass-through and TCP ports: raw bytes both ways, half-closes, aborts and back-pressure."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import pytest

from pyconnector.edge import SettingsError, TcpPort, TunnelSettings
from pyconnector.protocol.streams.connect import ConnectionType, ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.memory import MemoryConnection
from pyconnector.web.websocket.handshake import accept_value
from tests.edge.support import TUNNEL, memory_edge, until
from tests.edge.tcp.test_websocket_client import frames_of, server_frame
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, ScriptedConnector, connected

pytestmark = pytest.mark.usefixtures("each_loop")

UPGRADE = get("/ws", "app.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc")


async def switch(exchange: Exchange) -> None:
    accept = accept_value(exchange.headers("Sec-Websocket-Key")[0].encode())
    await exchange.answer(101, [(b"Upgrade", b"websocket"), (b"Sec-Websocket-Accept", accept)])


async def acknowledge(exchange: Exchange) -> None:
    await exchange.stream.send(encode_connect_response(ConnectResponse()))


async def carry_back(exchange: Exchange) -> None:
    """Send everything back, and end when the visitor ends."""
    while data := await exchange.receive():
        await exchange.stream.send(data)
    exchange.stream.finish()


async def test_a_websocket_is_passed_through_byte_for_byte() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await switch(exchange)
        await carry_back(exchange)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(UPGRADE + b"early")
            response = await visitor.head()
            assert response.status == 101
            assert response.field("Connection") == "Upgrade"
            assert response.field("Upgrade") == "websocket"
            assert response.field("Sec-Websocket-Accept") == accept_value(b"abc").decode()
            data = os.urandom(1_000_000)
            visitor.send(data)
            assert await visitor.reader.readexactly(len(data) + 5) == b"early" + data
            visitor.writer.write_eof()
            assert await visitor.reader.read() == b""
        await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()
    assert seen[0].request.type is ConnectionType.WEBSOCKET
    assert seen[0].headers("Connection") == []
    assert seen[0].headers("Upgrade") == []
    assert seen[0].headers("Sec-Websocket-Key") == ["abc"]


async def test_a_websocket_that_is_refused_is_an_ordinary_response() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(403, [(b"Content-Length", b"2")], b"no")
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            for _ in range(2):
                response = await visitor.request(UPGRADE)
                assert (response.status, response.body) == (403, b"no")
        await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()


async def test_the_far_end_of_a_tunnel_may_end_first() -> None:
    async def script(exchange: Exchange) -> None:
        await switch(exchange)
        await exchange.stream.send(b"last words")
        exchange.stream.finish()
        assert await exchange.body() == b"and mine"

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(UPGRADE)
            await visitor.head()
            assert await visitor.reader.read() == b"last words"
            visitor.send(b"and mine")
            visitor.writer.write_eof()
            await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()


async def test_a_far_end_that_ends_and_wants_no_more_closes_the_tunnel() -> None:
    async def script(exchange: Exchange) -> None:  # as the reference ends every pipe (wire.md 9)
        await switch(exchange)
        exchange.stream.finish()
        exchange.stream.stop()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(UPGRADE)
            await visitor.head()
            assert await visitor.reader.read() == b""
            await until(lambda: not len(edge._visitors))
        await connector.close()


@pytest.mark.parametrize("who", ["visitor", "connector", "connection"])
async def test_whoever_breaks_off_the_other_side_sees_it(who: str) -> None:
    broken = asyncio.Event()
    greeted = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await switch(exchange)
        await exchange.stream.send(b"hello")
        await greeted.wait()
        if who == "connector":
            exchange.stream.reset()
            exchange.stream.stop()
        elif who == "visitor":
            with pytest.raises(StreamReset):
                await exchange.body()
        broken.set()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(UPGRADE)
            await visitor.head()
            await visitor.reader.readexactly(5)
            greeted.set()
            if who == "visitor":
                visitor.abort()
                await broken.wait()
            else:
                if who == "connection":
                    connector.connection.close()
                with pytest.raises(ConnectionResetError):
                    await visitor.reader.readexactly(1000)
        await until(lambda: not len(edge._visitors))
        await connector.close()


def _waits(connector: ScriptedConnector) -> bool:
    assert isinstance(connector.connection, MemoryConnection)
    return bool(connector.connection.draining)


@pytest.mark.parametrize("kind", ["websocket", "hostname", "address"])
async def test_a_stalled_end_stops_the_other(kind: str) -> None:
    go_on = asyncio.Event()
    size = 30_000_000

    async def script(exchange: Exchange) -> None:
        await (acknowledge(exchange) if kind == "address" else switch(exchange))
        await go_on.wait()
        await carry_back(exchange)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        address = edge.visitor_address
        if kind != "websocket":
            port = await edge.add_tcp_port("10.0.0.1:99" if kind == "address" else "db.test")
            address = ("127.0.0.1", port)
        async with RawVisitor(address) as visitor:
            if kind == "websocket":
                visitor.send(UPGRADE)
                await visitor.head()
            visitor.send(b"x" * size)
            before = -1
            while (left := visitor.writer.transport.get_write_buffer_size()) != before:
                before = left
                await asyncio.sleep(0.05)
            assert left > size // 3, "all of it was taken although nobody reads"
            go_on.set()
            # What comes back is not read for a while: the connector must wait for the visitor as well.
            await until(lambda: _waits(connector) or kind == "hostname")
            visitor.abort()
            await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()


async def test_a_tcp_port_for_an_address_is_a_private_stream() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await acknowledge(exchange)
        await carry_back(exchange)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        port = await edge.add_tcp_port("[2001:db8::1]:5432")
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            data = os.urandom(2_000_000)
            visitor.send(data)
            visitor.writer.write_eof()  # half a close: what is under way still comes back
            assert await visitor.reader.read() == data
        await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()
    assert seen[0].request.dest == "[2001:db8::1]:5432"
    assert seen[0].request.type is ConnectionType.TCP


async def test_a_tcp_port_for_a_hostname_is_a_websocket_with_masked_frames() -> None:
    seen: list[Exchange] = []
    frames: list[tuple[int, bytes]] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await switch(exchange)
        await exchange.stream.send(server_frame(9, b"are you there"))
        await exchange.stream.send(server_frame(2, b"hello from afar"))
        frames.extend(frames_of(await exchange.body()))
        await exchange.stream.send(server_frame(2, b"after your end") + server_frame(8, b"\x03\xe8"))
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        port = await edge.add_tcp_port("db.test")
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            assert await visitor.reader.readexactly(15) == b"hello from afar"
            visitor.send(b"SELECT 1")
            visitor.writer.write_eof()
            assert await visitor.reader.read() == b"after your end"
        await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()
    assert seen[0].request.dest == "http://db.test/"
    assert seen[0].request.type is ConnectionType.WEBSOCKET
    assert seen[0].headers("Sec-Websocket-Version") == ["13"]
    assert sorted(frames) == sorted([(10, b"are you there"), (2, b"SELECT 1")])


async def _error(exchange: Exchange) -> None:
    await exchange.fail("no route to host")


async def _no_websocket(exchange: Exchange) -> None:
    await exchange.answer(200, [], b"a page")


async def _wrong_proof(exchange: Exchange) -> None:
    await exchange.answer(101, [(b"Sec-Websocket-Accept", b"wrong")])


async def _bad_frame(exchange: Exchange) -> None:
    await switch(exchange)
    await exchange.stream.send(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("script", [_error, _no_websocket, _wrong_proof, _bad_frame, None])
async def test_a_tcp_visitor_who_cannot_be_served_is_cut_off(script: object) -> None:
    async with memory_edge() as edge:
        connector = await connected(edge, script) if script else None  # type: ignore[arg-type]
        port = await edge.add_tcp_port("db.test")
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            visitor.send(b"hello")
            with pytest.raises(ConnectionResetError):
                await visitor.reader.readexactly(1)
        if connector:
            await until(lambda: not edge.connectors.all()[0].in_flight)
            await connector.close()


async def _no_token(exchange: Exchange) -> None:
    await exchange.answer(403, [], b"no")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (_no_token, "a rule that requires access asks for a token"),
        (_no_websocket, "takes no WebSocket, as a TCP visitor needs it (status 200)"),
        (None, "no tunnel is connected"),
    ],
)
async def test_why_tcp_visitors_are_turned_away_is_told_once_a_while(
    script: Any, told: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_edge() as edge:
        connector = await connected(edge, script) if script else None
        port = await edge.add_tcp_port("db.test")
        for lines in (1, 1, 2):
            if lines == 2:
                monkeypatch.setattr("pyconnector.edge.visitors.tcp.port.SAY_EVERY", 0.0)
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                with pytest.raises(ConnectionResetError):
                    await visitor.reader.readexactly(1)
            warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
            found = [line for line in warned if told in line]
            assert len(found) == lines, warned
        if connector:
            await until(lambda: not edge.connectors.all()[0].in_flight)
            await connector.close()


async def test_which_tunnel_an_address_belongs_to() -> None:
    async def script(exchange: Exchange) -> None:
        await acknowledge(exchange)
        await exchange.stream.send(b"here")
        exchange.stream.finish()

    named = TunnelSettings(
        account_tag="other", tunnel_id=TUNNEL.tunnel_id.__class__(int=7), secret=b"x", hostnames=("a.test",)
    )

    async with memory_edge(tunnels=(named, TUNNEL)) as edge:
        connector = await connected(edge, script)
        free = await edge.add_tcp_port("10.0.0.1:1")
        bound = await edge.add_tcp_port("10.0.0.1:1", tunnel_id=named.tunnel_id)
        async with RawVisitor(("127.0.0.1", free)) as visitor:
            assert await visitor.reader.readexactly(4) == b"here"
        async with RawVisitor(("127.0.0.1", bound)) as visitor:
            with pytest.raises(ConnectionResetError):
                await visitor.reader.readexactly(4)
        await connector.close()


@pytest.mark.parametrize("destination", ["", "a b", "10.0.0.1:0", "10.0.0.1:70000", "2001:db8::1:80", "[10.0.0.1]:80"])
def test_destinations_that_are_none(destination: str) -> None:
    with pytest.raises(SettingsError):
        TcpPort(destination=destination)
