"""Streams of one connection share its windows and its packets: none starves because others stand still or have much."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aioquic._buffer import Buffer

from pyconnector.transport.buffers.connection import SEND_BUDGET
from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection
from pyconnector.transport.quic.aioquic_engine.frames import FRESH_RUN, GROWN_SHARE, RESERVE_LIMIT, RESERVE_SHARE
from pyconnector.transport.quic.aioquic_engine.recovery import QuickAcks
from pyconnector.transport.quic.aioquic_engine.stream import FRESH_BURST, RESERVED_EACH, AioquicStream
from pyconnector.transport.seam import SEND_LOW_WATER
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, exchange, fill, open_both, read_all, until
from tests.transport.pairs.aioquic_pair import aioquic_pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyconnector.transport.seam import Stream

KIB, MIB = 1024, 1024 * 1024
PIECE = bytes(16 * KIB)


@pytest.mark.usefixtures("loop_errors")
async def test_readers_that_stall_after_a_quick_start_leave_credit_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every reader looks quick, so that windows grow as far as they may before their readers stall.
    monkeypatch.setattr(QuickAcks, "round_trip", 60.0)
    settings = QuicSettings(
        initial_stream_window=16 * KIB,
        stream_window=MIB,
        initial_connection_window=2 * MIB,
        connection_window=2 * MIB,
    )

    async with aioquic_pair(settings) as (client, server):
        pairs = [await open_both(client, server) for _ in range(40)]
        pouring = [asyncio.create_task(_pour(near)) for near, _ in pairs]
        for _, far in pairs:
            taken = 0
            while taken < 256 * KIB:
                taken += len(await asyncio.wait_for(far.receive(), PATIENCE))
        await until(lambda: all(near._drain_waiter for near, _ in pairs), "all readers have stalled")  # type: ignore[attr-defined]
        for _ in range(3):
            await asyncio.wait_for(exchange(client, server), PATIENCE)
        unread = sum(far.buffered for _, far in pairs)  # type: ignore[attr-defined]
        assert unread <= len(pairs) * 16 * KIB + settings.connection_window // GROWN_SHARE
        for task in pouring:
            task.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)


async def _pour(stream: Stream) -> None:
    while True:
        await stream.send(PIECE)


def test_usual_windows_keep_one_stream_within_16_mib_and_the_connection_within_64() -> None:
    settings = QuicSettings()
    grown = settings.connection_window // GROWN_SHARE
    assert settings.stream_window < 16 * MIB
    assert settings.connection_window < 64 * MIB
    # A hundred stalled streams leave at least a quarter of the connection's window.
    assert 100 * settings.initial_stream_window + grown <= settings.connection_window * 3 // 4
    assert settings.initial_connection_window == settings.connection_window


@pytest.mark.usefixtures("loop_errors")
async def test_stalled_streams_leave_the_reserve_to_short_messages() -> None:
    window = 512 * KIB
    settings = QuicSettings(
        initial_stream_window=window,
        stream_window=window,
        initial_connection_window=window,
        connection_window=window,
    )

    async with aioquic_pair(settings) as (client, server):
        pairs = [await open_both(client, server) for _ in range(3)]
        for near, _ in pairs:
            await fill(near)
        arrived = sum(far.buffered for _, far in pairs)  # type: ignore[attr-defined]
        free = window - window // RESERVE_SHARE
        assert free < arrived <= free + len(pairs) * RESERVED_EACH
        for _ in range(50):
            await asyncio.wait_for(exchange(client, server), PATIENCE)
        # Reading them lets them go on.
        for near, _ in pairs:
            near.finish()
        await asyncio.gather(*(read_all(far) for _, far in pairs))


@pytest.mark.usefixtures("loop_errors")
async def test_the_reserve_is_bounded() -> None:
    settings = QuicSettings(initial_connection_window=64 * MIB, connection_window=64 * MIB)
    async with aioquic_pair(settings) as (client, _server):
        assert client.core._reserve == RESERVE_LIMIT < client.core._remote_max_data // RESERVE_SHARE


@pytest.mark.usefixtures("loop_errors")
async def test_a_short_message_overtakes_the_middle_of_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async with aioquic_pair() as (client, server):
        short, short_far = await open_both(client, server)
        pairs = [await open_both(client, server) for _ in range(30)]
        arrivals: list[int] = []
        _record(monkeypatch, arrivals)
        for near, _ in pairs:
            near.send_nowait(bytes(MIB), finish=True)
        reading = [asyncio.create_task(read_all(far)) for _, far in pairs]
        await until(lambda: len(arrivals) > 100, "the long ones are under way")
        waiting = sum(near.queue.unsent for near, _ in pairs)  # type: ignore[attr-defined]
        assert waiting > 4 * MIB
        short.send_nowait(b"short", finish=True)
        assert await read_all(short_far) == b"short"
        assert sum(near.queue.unsent for near, _ in pairs) > waiting // 2  # type: ignore[attr-defined]
        assert [len(data) for data in await asyncio.gather(*reading)] == [MIB] * 30


def _record(monkeypatch: pytest.MonkeyPatch, arrivals: list[int]) -> None:
    original: Callable[[AioquicStream, bytes, bool], None] = AioquicStream.data_received

    def data_received(self: AioquicStream, data: bytes, finished: bool) -> None:
        arrivals.append(self.stream_id)
        original(self, data, finished)

    monkeypatch.setattr(AioquicStream, "data_received", data_received)


class _Builder:
    """Takes frames until `room` bytes are used up, and remembers whose they were."""

    packet_is_empty = False

    def __init__(self, room: int) -> None:
        self._room = room
        self.frames: list[tuple[int, int]] = []

    @property
    def remaining_flight_space(self) -> int:
        return min(self._room, 1200)

    def start_frame(self, frame_type: int, capacity: int, handler: Any, frame: Any) -> Buffer:
        self._room -= capacity + len(frame[1])
        self.frames.append((handler.__self__.stream_id, len(frame[1])))
        return Buffer(capacity=capacity + len(frame[1]))


@pytest.mark.usefixtures("loop_errors")
async def test_many_short_messages_do_not_starve_a_long_one() -> None:
    async with aioquic_pair() as (client, server):
        long, _far = await open_both(client, server)
        shorts = [(await open_both(client, server))[0] for _ in range(40)]
        long.send_nowait(bytes(MIB))
        long.burst = 0  # type: ignore[attr-defined]
        client.core._fresh.remove(long)  # type: ignore[arg-type]
        client.core._active.append(long)  # type: ignore[arg-type]
        for short in shorts:
            short.send_nowait(bytes(FRESH_BURST))
        builder = _Builder(300 * KIB)
        client.core._write_streams(builder)  # type: ignore[arg-type]
        assert [stream_id for stream_id, _ in builder.frames[:10]] == [each.stream_id for each in shorts[:10]]
        served = [size for stream_id, size in builder.frames if stream_id == long.stream_id]
        assert len(served) == 300 * KIB // (FRESH_RUN + 2 * 1200)
        assert client.core.unsent == sum(each.queue.unsent for each in (long, *shorts))  # type: ignore[attr-defined]
        client.close()


class _WholePackets:
    """Takes as many whole packets as the window has room for, and remembers whose they were."""

    full_packet = 1200

    def __init__(self, window: int) -> None:
        self._window = window
        self.packets: list[int] = []

    @property
    def has_full_packet(self) -> bool:
        return len(self.packets) < self._window

    def add_packet(self, frame: bytes, handler: Any, _frame: Any) -> None:
        assert len(frame) == self.full_packet
        self.packets.append(handler.__self__.stream_id)


class _Pace:
    """Lets so many packets leave."""

    def __init__(self, packets: int) -> None:
        self._left = packets

    def next_send_time(self, now: float) -> float | None:
        return None if self._left else now + 1

    def update_after_send(self, now: float) -> None:
        self._left -= 1


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize(("window", "pace"), [(7, 100), (100, 7)], ids=["window", "pace"])
async def test_long_streams_take_turns_until_window_or_pace_end(
    window: int, pace: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickAcks, "pacer", _Pace(pace))

    async with aioquic_pair() as (client, server):
        streams: list[Any] = [(await open_both(client, server))[0] for _ in range(3)]
        for stream in streams:
            stream.queue.write(bytes(MIB), False)
        client.core._active.extend(streams)
        client.core.unsent = 3 * MIB
        builder = _WholePackets(window)
        client.core._write_middles(builder, 0.0)  # type: ignore[arg-type]
        first, second, third = (each.stream_id for each in streams)
        assert builder.packets == [first, second, third, first, second, third, first]
        assert client.core.unsent == sum(each.queue.unsent for each in streams)
        client.close()


@pytest.mark.usefixtures("loop_errors")
async def test_the_sum_of_what_waits_is_kept_through_resets_and_stops() -> None:
    settings = QuicSettings(initial_stream_window=16 * KIB, stream_window=16 * KIB)

    async with aioquic_pair(settings) as (client, server):
        pairs = [await open_both(client, server) for _ in range(4)]
        for near, _ in pairs:
            near.send_nowait(bytes(100 * KIB))
        await until(lambda: all(far.buffered == 16 * KIB - 1 for _, far in pairs), "windows are full")  # type: ignore[attr-defined]
        assert client.engine_unsent_total() == 4 * (84 * KIB + 1)
        pairs[0][0].reset(1)
        pairs[1][1].stop(1)
        await until(lambda: client.engine_unsent_total() == 2 * (84 * KIB + 1), "what was aborted waits no more")
        for near, far in pairs[2:]:
            near.finish()
            await read_all(far)
        assert client.engine_unsent_total() == 0


@pytest.mark.usefixtures("loop_errors")
async def test_who_waits_for_the_shared_budget_goes_on_when_a_reset_frees_it() -> None:
    async with aioquic_pair(QuicSettings(initial_stream_window=16 * KIB, stream_window=16 * KIB)) as ends:
        client, server = ends
        waiting, _ = await open_both(client, server)
        greedy, _ = await open_both(client, server)
        waiting.send_nowait(bytes(16 * KIB + SEND_LOW_WATER // 2))
        greedy.send_nowait(bytes(SEND_BUDGET))
        drained = asyncio.create_task(waiting.drain())
        await until(lambda: not client.core._active and not client.core._fresh, "the windows are full")
        await until(lambda: waiting._drain_waiter is not None, "it waits")  # type: ignore[attr-defined]
        assert not drained.done()
        greedy.reset()
        await asyncio.wait_for(drained, PATIENCE)


@pytest.mark.usefixtures("loop_errors")
async def test_who_waits_is_looked_at_only_after_something_left(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    whole = AioquicStream.backlog_changed

    def counted(stream: AioquicStream, low_water: int) -> None:
        nonlocal looks
        looks += 1
        whole(stream, low_water)

    monkeypatch.setattr(AioquicStream, "backlog_changed", counted)

    async with aioquic_pair(QuicSettings(initial_stream_window=16 * KIB, stream_window=16 * KIB)) as ends:
        client, server = ends
        stalled, _ = await open_both(client, server)
        drained = asyncio.create_task(stalled.send(bytes(MIB)))
        await until(lambda: 0 < client.core.departed and not client.core._active, "the window is full")
        looks = 0
        for _ in range(20):
            await exchange(server, client)
        assert looks <= 25
        drained.cancel()
        await asyncio.gather(drained, return_exceptions=True)


async def _slow_readers(client: Any, server: Any, count: int) -> list[Any]:
    """Streams with most of a window unread, whose readers are taken for slow ones."""
    pairs: list[Any] = [await open_both(client, server) for _ in range(count)]
    for near, _ in pairs:
        near.send_nowait(bytes(48 * KIB))
    await until(lambda: all(far.buffered >= 48 * KIB for _, far in pairs), "most of each window arrived")
    for _, far in pairs:
        far.window.rate = 1.0
    return pairs


@pytest.mark.usefixtures("loop_errors")
async def test_credit_of_slow_readers_is_spread_out_and_reaches_everyone() -> None:
    async with aioquic_pair() as (client, server):
        pairs = await _slow_readers(client, server, 30)
        limits = [near.remote_limit for near, _ in pairs]
        quick, quick_far = await open_both(client, server)
        assert isinstance(quick_far, AioquicStream)
        quick.send_nowait(bytes(48 * KIB))
        await until(lambda: quick_far.buffered >= 48 * KIB, "the same from the quick one")
        for _, far in pairs:
            assert far.receive_nowait()
        assert len(server.core.patient_credit) == len(pairs) - 1, "all but the first wait for their turn"
        assert quick_far.receive_nowait()
        assert len(server.core.patient_credit) == len(pairs) - 1, "one that reads quickly does not"
        assert quick_far in server.core._credit_owed
        gone = pairs[-1][1]
        gone.stop()
        await until(
            lambda: all(near.remote_limit > limit for (near, _), limit in zip(pairs[:-1], limits, strict=False)),
            "every sender heard of its credit",
        )
        assert not server.core.patient_credit


@pytest.mark.usefixtures("loop_errors")
async def test_a_connection_that_ends_leaves_no_step_of_credit_behind() -> None:
    async with aioquic_pair() as (client, server):
        for _, far in await _slow_readers(client, server, 3):
            far.receive_nowait()
        step = server._credit_step
        assert step is not None
        assert not step.cancelled()
        server.close()
        assert step.cancelled()


@pytest.mark.usefixtures("loop_errors")
async def test_who_is_woken_by_a_burst_of_packets_sends_with_what_the_burst_set_free() -> None:
    async with aioquic_pair() as (client, server):
        bulk, bulk_far = await open_both(client, server)
        short, short_far = await open_both(client, server)
        bulk_far.send_nowait(bytes(256 * KIB))
        await until(lambda: bulk.buffered >= 64 * KIB, "the bulk waits for credit")  # type: ignore[attr-defined]
        await until(lambda: not server.core.recovery.bytes_in_flight, "and everything is acknowledged")
        answered: list[bool] = []

        async def answer() -> None:
            assert await short_far.receive() == b"question"
            short_far.send_nowait(b"answer", finish=True)

        def transmit() -> None:
            answered.append(answering.done())
            AioquicConnection.transmit(server)

        answering = asyncio.create_task(answer())
        await asyncio.sleep(0)
        server.transmit = transmit  # type: ignore[method-assign]
        # Credit for the bulk and the question travel in one packet, the credit first.
        assert bulk.receive_nowait()
        short.send_nowait(b"question")
        assert await read_all(short) == b"answer"
        assert answered[0], "the bulk left before the answer was written"


@pytest.mark.usefixtures("loop_errors")
async def test_a_defect_while_receiving_does_not_keep_a_connection_from_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with aioquic_pair() as (client, server):
        await exchange(client, server)
        with monkeypatch.context() as patch:
            patch.setattr(server.core, "receive_datagram", _fail)
            with pytest.raises(ZeroDivisionError):
                server.datagrams_received([(b"x", client.local_address)])
        server.schedule_transmit()
        assert server._is_transmit_scheduled
        await exchange(client, server)


def _fail(*_: object) -> None:
    raise ZeroDivisionError
