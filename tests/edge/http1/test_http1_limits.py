"""Slow, late and too many HTTP/1.1 visitors."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.edge.visitors.http1 import state
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_a_slow_visitor_stops_the_connector_and_a_slow_connector_the_visitor() -> None:
    sent = 0
    taken = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        if exchange.value("HttpMethod") == "GET":
            await exchange.answer(200)
            for _ in range(1000):
                await exchange.stream.send(b"x" * 65_536)
                sent += 65_536
            exchange.stream.finish()
        else:
            await taken.wait()
            size = len(await exchange.body())
            await exchange.answer(200, [(b"Content-Length", b"8")], b"%08d" % size)
            exchange.stream.finish()

    async def settled() -> int:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        return sent

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await visitor.head()
            # Socket buffers of the kernel take some megabytes; the rest of the 64 must wait at the connector.
            assert await settled() < 16_000_000
            total = 0
            while piece := await visitor.chunk():
                total += len(piece)
            assert total == 65_536_000
            data = b"y" * 30_000_000
            visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            before = -1
            while (left := visitor.writer.transport.get_write_buffer_size()) != before:
                before = left
                await asyncio.sleep(0.05)
            assert left > 10_000_000
            taken.set()
            assert int((await visitor.response()).body) == len(data)
        await connector.close()


async def test_requests_and_visitors_that_take_too_long() -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    limits = visitors(head_timeout=0.1, idle_timeout=0.2, response_timeout=0.3)

    async with memory_edge(visitors=limits) as edge:
        connector = await connected(edge, never)
        visited = [RawVisitor(edge.visitor_address) for _ in range(4)]
        for visitor in visited:
            await visitor.__aenter__()
        visited[0].send(b"GET / HTTP/1.1\r\nHo")
        visited[2].send(get())
        visited[3].send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        assert (await visited[0].response()).status == 408
        assert await visited[1].reader.read() == b""
        assert (await visited[2].response()).status == 524
        assert (await visited[3].response()).status == 408
        for visitor in visited:
            await visitor.close()
        assert edge.connectors.all()[0].in_flight == 0
        await connector.close()


async def test_the_number_of_visitors_is_bounded() -> None:
    async with memory_edge(visitors=visitors(max_connections=2)) as edge:
        async with RawVisitor(edge.visitor_address) as first, RawVisitor(edge.visitor_address) as second:
            assert (await first.request(get())).status == 530
            assert (await second.request(get())).status == 530
            async with RawVisitor(edge.visitor_address) as third:
                assert (await third.response()).status == 503
        await until(lambda: not len(edge._visitors))
        async with RawVisitor(edge.visitor_address) as again:
            assert (await again.request(get())).status == 530


async def test_a_refused_visitor_who_does_not_go_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LINGER", 0.05)

    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        assert (await visitor.request(b"nonsense\n")).status == 400
        await until(lambda: not len(edge._visitors))


async def test_bytes_after_the_last_request_do_not_spoil_its_response() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        async with RawVisitor(edge.visitor_address) as visitor:
            last = get("/", "app.test", "Connection: close")
            response = await visitor.request(last + b"x" * 1_000_000)
            assert (response.status, response.field("Connection")) == (200, "close")
            visitor.abort()
        assert connector.streams == 1
        await connector.close()
