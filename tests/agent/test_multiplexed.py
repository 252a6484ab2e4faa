"""All flows of a local proxy over one HTTP/2 connection: shared, made anew, bounded, and done without where it must."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyconnector.agent import Mesh, MeshError, multiplexed
from pyconnector.agent.carry import SocketEnd
from pyconnector.agent.multiplexed import SETTINGS
from tests.agent.test_client import TOKEN, joined
from tests.agent.test_proxy import proxied, socks
from tests.support.houses.gateway_house import echo_service, gateway_of
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.peers.gateway import CLIENT_ID

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_flows_share_one_connection_and_end_alone(tmp_path: Path) -> None:
    async with asyncio.timeout(60), proxied(tmp_path, tls=True) as (house, proxy), echo_service() as port:
        clients = [(await socks(proxy, "127.0.0.1", port))[1] for _ in range(30)]
        assert len(gateway_of(house)._clients) == 1
        answers = await asyncio.gather(*(client.ask(b"%d" % n * 5_000) for n, client in enumerate(clients)))
        assert answers == [b"%d" % n * 5_000 for n in range(30)]
        for client in clients[1:]:
            client.close()
        assert await clients[0].ask(b"goes on") == b"goes on"
        code, refused = await socks(proxy, "10.9.9.9", 1)
        assert code == 2
        refused.close()
        assert await clients[0].ask(b"goes on") == b"goes on"
        clients[0].close()
        while len(gateway_of(house).judge):
            await asyncio.sleep(0.01)
        assert len(gateway_of(house)._clients) == 1


@pytest.mark.parametrize("said", [True, False])
async def test_a_lost_connection_cuts_its_flows_and_is_made_anew(tmp_path: Path, said: bool) -> None:
    async with asyncio.timeout(60), proxied(tmp_path, tls=True) as (house, proxy), echo_service() as port:
        _, running = await socks(proxy, "127.0.0.1", port)
        assert await running.ask(b"x") == b"x"
        for client in tuple(gateway_of(house)._clients):
            client.abort() if said else client._connection._socket.abort()  # type: ignore[attr-defined]
        assert await running.rest() == b""
        running.close()
        code, other = await socks(proxy, "127.0.0.1", port)
        assert code == 0
        assert await other.ask(b"y") == b"y"
        other.close()


async def test_a_revoked_token_resets_its_flows(tmp_path: Path) -> None:
    async with asyncio.timeout(60), proxied(tmp_path, tls=True) as (house, proxy), echo_service() as port:
        _, running = await socks(proxy, "127.0.0.1", port)
        assert await running.ask(b"x") == b"x"
        house.edge.gate.state.drop("service_token", CLIENT_ID)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(running.reader.read(), 30)
        running.close()


async def test_a_program_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    sent = 0

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        except ConnectionError:
            writer.close()

    service = await asyncio.start_server(floods, "127.0.0.1", 0)
    async with asyncio.timeout(60), service, echo_service() as echo, proxied(tmp_path, tls=True) as (_, proxy):
        _, stalled = await socks(proxy, "127.0.0.1", service.sockets[0].getsockname()[1])
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != sent or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        [stream] = proxy._mesh._multiplexed._connection.streams.values()  # type: ignore[union-attr]
        assert stream.buffered <= SETTINGS.stream_window
        _, other = await socks(proxy, "127.0.0.1", echo)
        assert await other.ask(b"y" * 300_000) == b"y" * 300_000
        other.close()
        stalled.close()


async def test_a_flow_that_is_cancelled_ends_its_stream_alone(tmp_path: Path) -> None:
    async with asyncio.timeout(60), joined(tmp_path, tls=True) as (house, mesh), echo_service() as port:

        async def used() -> None:
            end = await mesh.open_end("127.0.0.1", port)
            try:
                await end.send(b"x")
                assert await end.receive() == b"x"
            finally:
                end.abort()

        async def nothing_is_left() -> None:
            while len(gateway_of(house).judge):
                await asyncio.sleep(0.005)
            assert not mesh._multiplexed._connection.streams  # type: ignore[union-attr]

        await used()
        assert await cancel_everywhere(used, nothing_is_left) >= 2
        with pytest.raises(MeshError, match="No network rule") as caught:
            await mesh.open_end("10.9.9.9", 1)
        assert caught.value.status == 403
        await nothing_is_left()


@asynccontextmanager
async def old_gateway() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A gateway that speaks HTTP/1.1 alone and echoes; yields its port, and the first line of each connection."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.partition(b"\r\n")[0])
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while data := await reader.read(1000):
                writer.write(data)
        else:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], lines


async def test_a_gateway_without_http2_is_not_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(60), old_gateway() as (port, lines):
        mesh = Mesh(f"http://127.0.0.1:{port}", TOKEN)

        async def used() -> None:
            end = await mesh.open_end("10.0.0.1", 80)
            assert isinstance(end, SocketEnd)
            await end.send(b"x")
            assert await end.receive() == b"x"
            end.abort()

        await used()
        await used()
        connect = b"CONNECT 10.0.0.1:80 HTTP/1.1"
        assert lines == [b"PRI * HTTP/2.0", connect, connect]
        monkeypatch.setattr(multiplexed, "ASK_AGAIN", 0.0)
        mesh._multiplexed._no_http2_until = 0.0  # type: ignore[union-attr]
        await used()
        assert lines[3:] == [b"PRI * HTTP/2.0", connect]
        await mesh.close()


async def test_a_gateway_that_ends_every_connection_is_given_up() -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with asyncio.timeout(60), await asyncio.start_server(ends, "127.0.0.1", 0) as server:
        mesh = Mesh(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", TOKEN)
        with pytest.raises(MeshError, match=r"without an answer|cannot be reached"):
            await mesh.open_end("10.0.0.1", 80)
