"""Bodies between HTTP/2 visitors and connectors: the slow hold back their own stream, who leaves is noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from h2.settings import SettingCodes

from pyconnector.edge.visitors.http2.engine import STREAM_WINDOW
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.seam import SEND_HIGH_WATER
from tests.edge.support import until

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from tests.support.peers.h2_visitor import H2Visitor
    from tests.support.peers.scripted_connector import Exchange
from tests.edge.http2.support import hello, scenario


async def test_an_upload_is_held_back_by_the_tunnel() -> None:
    proceed = asyncio.Event()
    size = 8 * 1024 * 1024

    async def script(exchange: Exchange) -> None:
        await proceed.wait()
        body = await exchange.body()
        await exchange.answer(200, [], b"%d" % len(body))
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        sending = asyncio.create_task(visitor.send(stream_id, bytes(size), end=True))
        await until(lambda: visitor.h2.local_flow_control_window(stream_id) == 0, "a closed window")
        await asyncio.sleep(0.05)
        stream = visitor.h2.streams[stream_id]
        assert stream.outbound_flow_control_window == 0
        other = await visitor.ask((b"x", b"1"), path=b"/late")
        assert other.status == 200
        proceed.set()
        await sending
        assert bytes((await visitor.answer(stream_id)).body) == b"%d" % size

    async def choose(exchange: Exchange) -> None:
        await (hello if exchange.request.dest.endswith("/late") else script)(exchange)

    await scenario(choose, play)


async def test_what_an_upload_may_hold_is_bounded() -> None:
    taken: list[int] = []

    async def script(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        before = -1
        while before != sum(taken):
            before = sum(taken)
            while (window := min(visitor.h2.local_flow_control_window(stream_id), 16_384)) > 0:
                visitor.h2.send_data(stream_id, bytes(window))
                taken.append(window)
            visitor.flush()
            await asyncio.sleep(0.05)
        # The opening and what the memory transport takes, what the stream's queue takes, what its window lets through.
        assert STREAM_WINDOW <= sum(taken) <= 2 * SEND_HIGH_WATER + 3 * STREAM_WINDOW

    await scenario(script, play)


async def test_a_visitor_who_takes_nothing_holds_back_its_own_stream_alone() -> None:
    sent: list[int] = []
    total = 8 * 1024 * 1024

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/small"):
            await hello(exchange)
            return
        await exchange.answer(200)
        for _ in range(total // 65_536):
            await exchange.stream.send(bytes(65_536))
            sent.append(65_536)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(path=b"/large")
        log = visitor.streams[stream_id]
        await visitor.until(lambda: len(log.body) == 40_000)
        before = -1
        while before != sum(sent):
            before = sum(sent)
            await asyncio.sleep(0.05)
        assert sum(sent) < 4 * 1024 * 1024
        assert len(log.body) == 40_000
        assert bytes((await visitor.ask(path=b"/small")).body) == b"hello"
        visitor.give_credit()
        await visitor.answer(stream_id)
        assert len(log.body) == total

    await scenario(script, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 40_000}, hold=True)


async def test_a_visitor_whose_windows_are_open_but_who_reads_nothing_holds_back_the_connector() -> None:
    sent: list[int] = []
    total = 48 * 1024 * 1024
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200)
        await proceed.wait()
        for _ in range(total // 65_536):
            await exchange.stream.send(bytes(65_536))
            sent.append(65_536)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.h2.increment_flow_control_window(2**30)
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        visitor.transport.pause_reading()
        proceed.set()
        before = -1
        while before != sum(sent):
            before = sum(sent)
            await asyncio.sleep(0.1)
        assert 0 < sum(sent) < total // 2
        visitor.transport.resume_reading()
        await visitor.answer(stream_id)
        assert len(log.body) == total

    await scenario(script, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**30}, receive_buffer=65_536)


async def test_a_window_that_opens_with_the_settings_is_used() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        assert not log.body
        visitor.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        visitor.flush()
        assert bytes((await visitor.answer(stream_id)).body) == b"hello"

    await scenario(hello, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})


async def test_a_reset_reaches_the_connector_at_once_and_spares_the_others() -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/small"):
            await hello(exchange)
            return
        await exchange.answer(200, [], b"beginning")
        with pytest.raises(StreamReset):
            await exchange.receive()
        gone.set()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        await visitor.until(lambda: bool(visitor.streams[stream_id].body))
        visitor.reset(stream_id)
        async with asyncio.timeout(0.5):
            await gone.wait()
        assert (await visitor.ask(path=b"/small")).status == 200

    await scenario(script, play)


async def test_a_reset_before_the_answer_reaches_the_connector_too() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def waiting(exchange: Exchange) -> None:
        exchange.stream.set_abort_callback(gone.set)
        arrived.set()
        await gone.wait()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        await arrived.wait()
        visitor.reset(stream_id)
        async with asyncio.timeout(0.5):
            await gone.wait()
        assert not visitor.lost

    await scenario(waiting, play)


async def test_a_visitor_who_is_gone_takes_all_its_exchanges_along() -> None:
    gone: list[int] = []

    async def script(exchange: Exchange) -> None:
        over = asyncio.Event()
        exchange.stream.set_abort_callback(over.set)
        await over.wait()
        gone.append(1)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(5):
            visitor.open(method=b"POST", end=False)
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: member.in_flight == 5, "five exchanges")
        await visitor.close()
        await until(lambda: len(gone) == 5, "five aborts")
        assert member.in_flight == 0

    await scenario(script, play)
