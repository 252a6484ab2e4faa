"""Visitors who leave at an awkward moment: their socket is closed on every loop, and that is no error."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pyconnector.edge import ControlSettings
from tests.edge.support import memory_edge, until, visitors
from tests.edge.tcp.test_two_way import UPGRADE, acknowledge, carry_back, switch
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge

pytestmark = pytest.mark.usefixtures("each_loop")

LEAVERS = 20


async def _nobody_left(edge: LocalEdge) -> None:
    await until(lambda: not len(edge._visitors), "the last visitor is gone")
    await until(lambda: not sum(connection.in_flight for connection in edge.connectors.all()), "nothing is in flight")


def _no_errors(caplog: pytest.LogCaptureFixture) -> None:
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("kind", ["websocket", "address", "hostname"])
async def test_a_tunnel_whose_visitor_left_is_closed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    left = asyncio.Event()
    here = 0

    async def script(exchange: Exchange) -> None:
        nonlocal here
        await (acknowledge(exchange) if kind == "address" else switch(exchange))
        here += 1
        await left.wait()
        # The far end ends in good order while the visitor's reset is still unread, as its answer would be.
        if kind == "hostname":
            await exchange.stream.send(b"\x88\x02\x03\xe8")
        exchange.stream.finish()
        await exchange.body()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        address = edge.visitor_address
        if kind != "websocket":
            port = await edge.add_tcp_port("10.0.0.1:99" if kind == "address" else "db.test")
            address = ("127.0.0.1", port)
        leavers = []
        for _ in range(LEAVERS):
            visitor = await RawVisitor(address).__aenter__()
            visitor.send(UPGRADE if kind == "websocket" else b"hello")
            if kind == "websocket":
                await visitor.head()
            leavers.append(visitor)
        await until(lambda: here == LEAVERS)
        left.set()
        for visitor in leavers:
            visitor.abort()
        await _nobody_left(edge)
        await connector.close()
    _no_errors(caplog)


async def test_an_echo_whose_visitor_closes_at_once_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def script(exchange: Exchange) -> None:
        await acknowledge(exchange)
        await carry_back(exchange)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        port = await edge.add_tcp_port("10.0.0.1:99")
        for _ in range(LEAVERS):
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                visitor.send(b"hello")
        await _nobody_left(edge)
        await connector.close()
    _no_errors(caplog)


@pytest.mark.parametrize("request_of", ["bad", "good", "none"])
async def test_a_request_whose_sender_left_is_no_error(request_of: str, caplog: pytest.LogCaptureFixture) -> None:
    data = {"bad": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "good": get(), "none": b"GET"}[request_of]

    async with memory_edge(visitors=visitors(head_timeout=0.01)) as edge:
        for _ in range(LEAVERS):
            visitor = await RawVisitor(edge.visitor_address).__aenter__()
            visitor.send(data)
            visitor.abort()
        await _nobody_left(edge)
    _no_errors(caplog)


async def test_a_client_of_the_control_api_who_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with memory_edge(control=ControlSettings()) as edge:
        assert edge.control_address is not None
        for data in (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET", b""):
            for _ in range(LEAVERS):
                visitor = await RawVisitor(edge.control_address).__aenter__()
                visitor.send(data)
                visitor.abort()
        async with RawVisitor(edge.control_address) as visitor:
            host = "{}:{}".format(*edge.control_address)
            assert (await visitor.request(get("/healthz", host))).status == 200
    _no_errors(caplog)


@pytest.mark.parametrize("where", ["websocket", "tcp"])
async def test_a_socket_is_closed_whatever_ends_its_tunnel(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyconnector.edge.visitors.tcp.two_way import TwoWay

    async def broken(self: TwoWay, first: bytes) -> bool:
        self._exchange.abort()
        raise KeyError("a defect")

    monkeypatch.setattr(TwoWay, "run", broken)

    async def script(exchange: Exchange) -> None:
        await (acknowledge(exchange) if where == "tcp" else switch(exchange))
        await exchange.body()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        address = edge.visitor_address
        if where == "tcp":
            address = ("127.0.0.1", await edge.add_tcp_port("10.0.0.1:99"))
        async with RawVisitor(address) as visitor:
            visitor.send(UPGRADE)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await visitor.reader.readexactly(1000)
        await connector.close()
