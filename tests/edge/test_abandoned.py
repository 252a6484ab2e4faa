"""Thousands of streams opened and abandoned, from either side: nothing stays behind."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.edge.support import memory_edge, until
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")

#: In flight at once; each visitor needs a file descriptor at both ends.
AT_ONCE = 100
ROUNDS = 40


async def test_visitors_that_leave_in_the_middle_of_their_requests() -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.answer(200, [], b"half of it")
        await exchange.receive()

    async def visit(edge_address: tuple[str, int], number: int) -> None:
        async with RawVisitor(edge_address) as visitor:
            if number % 2:
                visitor.send(get())
            else:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
            await visitor.head()
            visitor.abort()

    async with memory_edge() as edge:
        connector = await connected(edge, half)
        side = edge.connectors.all()[0].transport
        for _ in range(ROUNDS // 4):
            await asyncio.gather(*[visit(edge.visitor_address, number) for number in range(AT_ONCE)])
        await until(lambda: not len(edge._visitors) and not edge.connectors.all()[0].in_flight)
        await until(lambda: side.statistics().streams_open <= 1)
        assert len(edge._visitors.tasks) == 0
        assert connector.streams == ROUNDS // 4 * AT_ONCE
        await connector.close()


async def test_a_connector_that_resets_every_request() -> None:
    kinds = 0

    async def script(exchange: Exchange) -> None:
        nonlocal kinds
        kinds += 1
        if kinds % 3 == 0:
            exchange.stream.reset()
        elif kinds % 3 == 1:
            await exchange.stream.send(b"\x0a\x36")
            exchange.stream.finish()
        else:
            exchange.stream.stop()
            exchange.stream.reset()

    async def visit(edge_address: tuple[str, int]) -> None:
        async with RawVisitor(edge_address) as visitor:
            for _ in range(ROUNDS):
                assert (await visitor.request(get())).status == 502

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        await asyncio.gather(*[visit(edge.visitor_address) for _ in range(10)])
        gc.collect()
        before = len(gc.get_objects())
        await asyncio.gather(*[visit(edge.visitor_address) for _ in range(AT_ONCE)])
        assert connector.streams == ROUNDS * (AT_ONCE + 10)
        await until(lambda: not len(edge._visitors) and not len(edge._visitors.tasks))
        await until(lambda: edge.connectors.all()[0].transport.statistics().streams_open <= 1)
        await asyncio.sleep(0.01)
        gc.collect()
        assert len(gc.get_objects()) - before < ROUNDS * AT_ONCE / 10, "objects stay behind per request"
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 502
        await connector.close()
