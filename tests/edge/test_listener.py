"""The edge's listeners: they go on after the system ran out of descriptors, and say so once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from typing import Any, cast

import pytest

from pyconnector.edge import ControlSettings, EdgeSettings, LocalEdge, listener
from pyconnector.edge.listener import ACCEPTS_A_TURN, Listener
from pyconnector.transport import http2
from tests.edge.support import TUNNEL, memory_edge, until
from tests.support.peers.raw_visitor import RawVisitor, get

pytestmark = pytest.mark.usefixtures("each_loop")


class Shortage:
    """`accept` fails for as long as it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.EMFILE) -> None:
        self.lasts = True
        self.attempts = 0
        real = socket.socket.accept

        def accept(sock: socket.socket) -> tuple[socket.socket, object]:
            self.attempts += 1
            if self.lasts:
                raise OSError(number, "Too many open files")
            return real(sock)

        monkeypatch.setattr(socket.socket, "accept", accept)
        monkeypatch.setattr(listener, "RETRY", 0.01)


@pytest.mark.parametrize("where", ["visitors", "tcp", "control"])
async def test_accepting_goes_on_after_descriptors_ran_out(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_edge(control=ControlSettings()) as edge:
        shortage = Shortage(monkeypatch)
        tcp = await edge.add_tcp_port("10.0.0.1:1")
        assert edge.control_address is not None
        address = {"visitors": edge.visitor_address, "tcp": ("127.0.0.1", tcp), "control": edge.control_address}
        async with RawVisitor(address[where]) as visitor:
            visitor.send(get("/healthz"))
            await until(lambda: shortage.attempts > 5)
            assert len(caplog.records) == 1
            assert "ulimit -n" in caplog.text
            shortage.lasts = False
            if where == "tcp":
                with pytest.raises(ConnectionResetError):  # there is no tunnel
                    await visitor.reader.readexactly(1)
            else:
                assert (await visitor.response()).status == {"visitors": 530, "control": 403}[where]


async def test_a_shortage_is_told_again_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "LOG_EVERY", 0.03)

    async with memory_edge() as edge:
        shortage = Shortage(monkeypatch)
        async with RawVisitor(edge.visitor_address):
            await until(lambda: len(caplog.records) == 3)
            assert shortage.attempts > 3


async def test_one_connection_that_fails_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_edge() as edge:
        shortage = Shortage(monkeypatch, errno.ECONNABORTED)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await until(lambda: shortage.attempts > 0)
            shortage.lasts = False
            assert (await visitor.response()).status == 530


async def test_a_turn_accepts_a_few_of_those_who_wait() -> None:
    made: list[int] = []

    class Counted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport.get_extra_info("peername"), tuple)
            transport.close()

    def factory() -> asyncio.Protocol:
        made.append(1)
        return Counted()

    here = Listener(factory, "visitors")
    address = await here.start("127.0.0.1", 0)
    clients = [socket.create_connection(address) for _ in range(2 * ACCEPTS_A_TURN + 5)]
    here._accept(here._sockets[0])
    assert len(here._tasks) == ACCEPTS_A_TURN
    await until(lambda: len(made) == len(clients))
    for client in clients:
        client.close()
    here.close()
    here.close()
    await here.wait_closed()


async def test_a_taken_address_is_refused_and_leaves_nothing_open() -> None:
    first, second = Listener(asyncio.Protocol, "visitors"), Listener(asyncio.Protocol, "visitors")
    address = await first.start("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await second.start(*address)
    first.close()


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("where", ["visitors", "tcp", "control"])
async def test_who_came_last_is_closed_with_the_edge(where: str, turns: int) -> None:
    gc.disable()  # closing by the collector is what this is not about
    try:
        async with contextlib.AsyncExitStack() as stack:
            edge = await stack.enter_async_context(memory_edge(control=ControlSettings()))
            tcp = await edge.add_tcp_port("10.0.0.1:1")
            assert edge.control_address is not None
            address = {"visitors": edge.visitor_address, "tcp": ("127.0.0.1", tcp), "control": edge.control_address}
            clients = [socket.create_connection(address[where]) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
        for client in clients:
            with client:
                client.setblocking(False)
                await until(lambda client=client: _is_over(client), "the end")  # type: ignore[misc]
    finally:
        gc.enable()


def _is_over(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_who_does_not_finish_a_tls_handshake_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_HANDSHAKES", 3)
    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT", 0.3)

    async with LocalEdge(EdgeSettings(tunnels=(TUNNEL,), control=None, protocols=("http2",))) as edge:
        silent = [socket.create_connection(edge.quic_address) for _ in range(3)]
        beyond = socket.create_connection(edge.quic_address)
        beyond.setblocking(False)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(beyond, 1), 30) == b""
        for each in silent:  # cut off after the time for a handshake
            each.setblocking(False)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(each, 1), 30) == b""
        connection = await http2.connect(edge.quic_address, ca_file=str(edge.ca_path))
        await until(lambda: len(edge.connectors.all()) == 1)
        connection.close()
        await connection.wait_closed()
        for each in (*silent, beyond):
            each.close()


async def test_what_follows_a_head_does_not_wait_for_an_acknowledgment() -> None:
    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        visitor.send(b"GET")
        await until(lambda: len(edge._visitors) == 1)
        (connection,) = edge._visitors._connections
        accepted = cast("Any", connection)._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
