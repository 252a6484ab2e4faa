"""What holds of the qh3 engine's flow control, whose core has one queue of events for all streams of a connection."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.buffers.connection import SEND_LEAST
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.quic.qh3_engine import connection as qh3_connection
from pyconnector.transport.quic.qh3_engine import driver as qh3_driver
from pyconnector.transport.quic.qh3_engine.configuration import (
    CORE_CONNECTION_WINDOW,
    CORE_STREAM_WINDOW,
    UNREAD_LIMIT,
    Windows,
)
from pyconnector.transport.quic.qh3_engine.connection import (
    CROWD,
    CROWD_STALL_LIMIT,
    REPEAT_MEMORY,
    REPEAT_STALL_LIMIT,
)
from pyconnector.transport.quic.qh3_engine.numbers import (
    SKIPPED_STREAMS,
    TOMBSTONES,
    RecentlyOver,
    SkippedTooMany,
    StreamNumbers,
)
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, exchange, fill, open_both, read_all, until
from tests.transport.conformance_connections import SLACK
from tests.transport.pairs.qh3_pair import qh3_pair

MIB = 1024 * 1024
#: Half of the connection's window may wait unread, and a stream's window in the core is half of the stream's.
SETTINGS = QuicSettings(engine="qh3", connection_window=2 * MIB, stream_window=MIB // 2)
#: What is unread may exceed the limit by one event of the core.
EVENT = 64 * 1024


async def test_a_stalled_reader_below_the_limit_slows_nobody() -> None:
    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        await near.send(bytes(MIB - 2 * EVENT))
        near.finish()
        for _ in range(20):
            async with asyncio.timeout(30):
                await exchange(client, server)
        assert not server._is_held
        assert len(await read_all(far)) == MIB - 2 * EVENT


async def test_stalled_readers_together_stay_within_the_connections_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", ())

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        pairs = [await open_both(client, server) for _ in range(6)]
        queued = await asyncio.gather(*(fill(near) for near, _ in pairs))
        assert MIB <= server._unread <= MIB + EVENT
        assert sum(queued) <= SETTINGS.connection_window + EVENT + len(pairs) * SLACK
        for near, _ in pairs:
            near.finish()
        arrived = await asyncio.gather(*(read_all(far) for _, far in pairs))
        assert [len(data) for data in arrived] == queued
        assert server._unread == 0


async def test_one_stalled_reader_costs_the_limit_and_one_window() -> None:
    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, _far = await open_both(client, server)
        queued = await fill(near)
        graces = len(qh3_connection.GRACES) * SETTINGS.stream_window // 2
        assert queued <= MIB + EVENT + SETTINGS.stream_window // 2 + graces + SLACK


async def test_a_slow_reader_gets_everything_and_neighbours_go_on_meanwhile() -> None:
    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)

        async def push() -> None:
            for _ in range(64):
                await near.send(bytes(EVENT))
            near.finish()

        pushing = asyncio.create_task(push())
        await until(lambda: server._is_held, "unread bytes hold the events")
        neighbour = asyncio.create_task(exchange(client, server))
        taken = 0
        while not neighbour.done():
            taken += len(await asyncio.wait_for(far.receive(EVENT), PATIENCE))
            await asyncio.sleep(0)
        await neighbour
        assert taken <= SETTINGS.connection_window
        taken += len(await read_all(far))
        await pushing
        assert taken == 64 * EVENT


async def test_a_reader_that_takes_nothing_loses_its_stream_and_frees_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", (0.02,))
    monkeypatch.setattr(qh3_connection, "STALL_LIMIT", 0.2)

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        aborted = asyncio.Event()
        far.set_abort_callback(aborted.set)
        near.send_nowait(bytes(4 * MIB), finish=True)
        await until(lambda: server._is_held, "unread bytes hold the events")
        await asyncio.wait_for(exchange(client, server), PATIENCE)
        # That one may have slipped through with the little that is taken before.
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        await asyncio.wait_for(exchange(client, server), PATIENCE)
        with pytest.raises(StreamReset):
            far.receive_nowait()
        assert server._unread == 0
        assert "gave up 1 of" in caplog.text


async def test_a_reset_behind_unread_bytes_is_heard_of_before_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", (0.4, 0.4, 0.4))

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        aborted = asyncio.Event()
        far.set_abort_callback(aborted.set)
        await fill(near)
        near.reset(7)
        await asyncio.wait_for(aborted.wait(), qh3_connection.STALL_LIMIT / 2)
        with pytest.raises(StreamReset) as caught:
            far.receive_nowait()
        assert caught.value.code == 7


async def test_what_a_flood_leaves_in_the_core_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_connection, "HELD_EVENTS", 200)
    monkeypatch.setattr(qh3_connection, "GRACES", ())

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        queued = await fill(near)
        assert server._is_held
        for _ in range(100):
            for _ in range(32):
                client.send_datagram(b"flood")
            await asyncio.sleep(0)
        assert 100 < server._held_events < 400
        near.finish()
        assert len(await read_all(far)) == queued
        assert server._held_events == 0
        assert server.statistics().datagrams_dropped > 0
        await exchange(client, server)


async def test_the_end_of_the_connection_is_not_held() -> None:
    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        await fill(near)
        assert server._is_held
        client.close(3, "enough")
        info = await asyncio.wait_for(server.wait_closed(), 30)
        assert (info.code, info.reason) == (3, "enough")
        assert len(await asyncio.wait_for(far.receive(), 30)) > 0


@given(connection=st.integers(min_value=1024, max_value=1 << 32), stream=st.integers(min_value=1024, max_value=1 << 32))
def test_windows_never_sum_up_to_more_than_the_settings_allow(connection: int, stream: int) -> None:
    windows = Windows.of(QuicSettings(connection_window=connection, stream_window=stream))
    assert windows.unread + windows.connection == min(connection, windows.unread + CORE_CONNECTION_WINDOW)
    assert 0 < windows.stream <= min(stream, windows.connection, CORE_STREAM_WINDOW)
    assert 0 < windows.unread <= UNREAD_LIMIT


def test_usual_windows_keep_one_stream_within_16_mib_and_the_connection_within_64() -> None:
    windows = Windows.of(QuicSettings())
    graces = len(qh3_connection.GRACES) * windows.stream
    assert windows.unread + graces + EVENT + windows.stream < 16 * MIB
    # The core's buffers grow by doubling, so they may be twice what they hold.
    assert windows.unread + graces + EVENT + 2 * windows.connection < 64 * MIB


def test_each_number_is_new_once_in_whatever_order() -> None:
    numbers = StreamNumbers(1)
    order = [1, 13, 5, 9, 17, 29, 25, 21]
    assert [numbers.is_new(n) for n in order] == [True] * len(order)
    assert [numbers.is_new(n) for n in order] == [False] * len(order)
    assert numbers.is_new(33)


def test_numbers_of_other_kinds_are_never_new() -> None:
    numbers = StreamNumbers(0)
    assert [numbers.is_new(n) for n in (1, 2, 3)] == [False] * 3
    assert numbers.is_new(0)


def test_a_peer_may_not_skip_more_numbers_than_the_bound() -> None:
    numbers = StreamNumbers(0)
    assert numbers.is_new(4 * SKIPPED_STREAMS)
    assert numbers.is_new(4 * (SKIPPED_STREAMS + 1))
    with pytest.raises(SkippedTooMany):
        numbers.is_new(4 * (SKIPPED_STREAMS + 3))
    assert numbers.is_new(0)
    assert numbers.is_new(4 * (SKIPPED_STREAMS + 3))


async def test_readers_that_take_nothing_lose_no_more_streams_than_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", ())
    monkeypatch.setattr(qh3_connection, "STALL_LIMIT", 0.3)

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        idle, idle_far = await open_both(client, server)
        pairs = [await open_both(client, server) for _ in range(8)]
        for near, _ in pairs:
            near.send_nowait(bytes(MIB), finish=True)
        await until(lambda: server._is_held, "unread bytes hold the events")
        await asyncio.wait_for(exchange(client, server), PATIENCE)
        assert "gave up" in caplog.text
        far_ends = [far for _, far in pairs if not far.is_aborted]  # type: ignore[attr-defined]
        assert 0 < len(far_ends) < len(pairs)
        monkeypatch.setattr(qh3_connection, "STALL_LIMIT", PATIENCE)
        arrived = await asyncio.gather(*(read_all(far) for far in far_ends))
        assert [len(data) for data in arrived] == [MIB] * len(far_ends)
        await idle.send(b"who has nothing unread lives on")
        assert await asyncio.wait_for(idle_far.receive(), PATIENCE)


async def test_streams_of_one_reader_are_given_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", ())
    monkeypatch.setattr(qh3_connection, "STALL_LIMIT", 0.3)

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        server._unread_limit = 4 * EVENT
        near, innocent = await open_both(client, server)
        innocent.read_for("somebody else")
        near.send_nowait(bytes(EVENT), finish=True)
        await until(lambda: innocent.buffered == EVENT, "more of another reader's is unread than of any one stream")  # type: ignore[attr-defined]
        pairs = [await open_both(client, server) for _ in range(8)]
        for near, far in pairs:
            far.read_for("a visitor")
            near.send_nowait(bytes(EVENT * 3 // 4), finish=True)
        await until(lambda: any(far.is_aborted for _, far in pairs) or innocent.is_aborted, "somebody is given up")  # type: ignore[attr-defined]
        assert len(await read_all(innocent)) == EVENT


async def test_repeated_stalls_are_waited_for_less_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", (0.02,))
    monkeypatch.setattr(qh3_connection, "STALL_LIMIT", 0.3)

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        assert server._stall_waits() == (0.02, 0.3)
        near, far = await open_both(client, server)
        near.send_nowait(bytes(4 * MIB), finish=True)
        await until(lambda: far.is_aborted, "it is given up")  # type: ignore[attr-defined]
        assert server._stall_waits() == (0.02, REPEAT_STALL_LIMIT)
        server._repeat_until -= REPEAT_MEMORY
        assert server._stall_waits() == (0.02, 0.3)


async def test_what_is_in_flight_stays_near_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 64 * 1024
    monkeypatch.setattr(qh3_driver, "IN_FLIGHT_LIMIT", limit)

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        near, far = await open_both(client, server)
        received = asyncio.create_task(read_all(far))
        most = 0
        for _ in range(200):
            await asyncio.wait_for(near.send(bytes(EVENT)), PATIENCE)
            await asyncio.sleep(0)  # what is written in one turn leaves together
            most = max(most, client.core.bytes_in_flight)
        near.finish()
        assert len(await received) == 200 * EVENT
        # A sender may have had unsent bytes when the limit was reached, and one piece more.
        assert limit / 2 < most <= limit + SEND_LEAST + 2 * EVENT


def test_the_last_streams_that_ended_are_remembered_and_not_for_ever() -> None:
    over = RecentlyOver()
    for number in range(3 * TOMBSTONES):
        over.add(4 * number)
        assert 4 * number in over
        assert 4 * max(0, number - TOMBSTONES // 2 + 1) in over
        assert 4 * (number - TOMBSTONES) not in over


@pytest.mark.parametrize(("readers", "waits"), [(1, (0.02, CROWD_STALL_LIMIT)), (CROWD, (0.02, 5.0))])
async def test_a_reader_of_many_streams_is_waited_for_less_long(
    monkeypatch: pytest.MonkeyPatch, readers: int, waits: tuple[float, ...]
) -> None:
    monkeypatch.setattr(qh3_connection, "GRACES", (0.02,))

    async with qh3_pair(SETTINGS, SETTINGS) as (client, server):
        pairs = [await open_both(client, server) for _ in range(CROWD)]
        for number, (near, far) in enumerate(pairs):
            far.read_for(f"visitor {number % readers}")
            near.send_nowait(bytes(MIB), finish=True)
        await until(lambda: server._graces > 0, "nobody reads")
        assert server._stall_waits() == waits
        for _, far in pairs:
            far.stop()
