"""Conformance: flow control, stream limits, datagrams and the end of a connection."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pyconnector.transport.buffers.connection import DATAGRAM_QUEUE
from pyconnector.transport.errors import ConnectionClosed, StreamReset
from pyconnector.transport.seam import SEND_HIGH_WATER, SEND_LOW_WATER, Stream
from tests.transport.conformance import PATIENCE, Check, MakePair, fill, open_both, read_all, until

#: What a stalled reader may cost beyond its window: the sender's backlog and the piece that went over the mark.
SLACK = SEND_HIGH_WATER + 2 * 16384


async def a_stalled_reader_stops_its_sender_and_no_other(make_pair: MakePair) -> None:
    window = 128 * 1024
    async with make_pair(stream_window=window, connection_window=16 * window) as (client, server):
        stalled, stalled_far = await open_both(client, server)
        queued = await fill(stalled)
        assert window <= queued <= window + SLACK
        other, other_far = await open_both(client, server)
        received = asyncio.create_task(read_all(other_far))
        for _ in range(64):
            await asyncio.wait_for(other.send(bytes(16384)), PATIENCE)
        other.finish()
        assert len(await received) == 64 * 16384
        # Consuming gives credit back, until everything arrived.
        stalled.finish()
        assert len(await read_all(stalled_far)) == queued


async def the_connection_window_bounds_all_stalled_streams_together(make_pair: MakePair) -> None:
    window = 256 * 1024
    async with make_pair(stream_window=window, connection_window=window) as (client, server):
        pairs = [await open_both(client, server) for _ in range(4)]
        queued = await asyncio.gather(*(fill(near) for near, _ in pairs))
        assert sum(queued) <= window + len(pairs) * SLACK
        for near, _ in pairs:
            near.finish()
        arrived = await asyncio.gather(*(read_all(far) for _, far in pairs))
        assert [len(data) for data in arrived] == queued


async def a_stopped_or_reset_stream_gives_its_credit_back(make_pair: MakePair) -> None:
    window = 128 * 1024
    async with make_pair(stream_window=window, connection_window=window) as (client, server):
        for end in ("stop", "reset", "stop after the end"):
            near, far = await open_both(client, server)
            if end == "stop after the end":
                near.send_nowait(bytes(window // 2), finish=True)
                await asyncio.wait_for(far.receive(1), PATIENCE)
            else:
                await fill(near)
            if end == "reset":
                near.reset(1)
            else:
                far.stop(1)
            far.reset(1)
            near.stop(1)
        near, far = await open_both(client, server)
        received = asyncio.create_task(read_all(far))
        for _ in range(32):
            await asyncio.wait_for(near.send(bytes(16384)), PATIENCE)
        near.finish()
        assert len(await received) == 32 * 16384


async def send_nowait_tells_when_to_drain(make_pair: MakePair) -> None:
    window = 64 * 1024
    async with make_pair(stream_window=window, connection_window=4 * window) as (client, server):
        near, far = await open_both(client, server)
        assert near.send_nowait(bytes(1000)) is False
        assert near.send_nowait(bytes(SEND_HIGH_WATER + window)) is True
        draining = asyncio.create_task(near.drain())
        taken = 0
        while taken < window // 2:
            taken += len(await asyncio.wait_for(far.receive(4096), PATIENCE))
        assert not draining.done(), "the backlog is still above the low watermark"
        while not draining.done():
            taken += len(await asyncio.wait_for(far.receive(4096), PATIENCE))
        await draining
        assert taken >= SEND_HIGH_WATER - SEND_LOW_WATER - window
        near.finish()
        assert taken + len(await read_all(far)) == 1000 + SEND_HIGH_WATER + window


async def finished_streams_leave_no_state(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        for _ in range(10):
            pairs = [await open_both(client, server) for _ in range(30)]
            for near, far in pairs:
                near.send_nowait(b"question", finish=True)
                far.send_nowait(b"answer", finish=True)
            for near, far in pairs:
                assert await read_all(near) == b"answer"
                assert await read_all(far) == b"question"
        await until(lambda: client.statistics().streams_open == 0, "the opener forgets finished streams")
        await until(lambda: server.statistics().streams_open == 0, "the acceptor forgets finished streams")


async def abandoned_streams_leave_no_state(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):

        def abandon(stream: Stream) -> None:
            stream.stop(2)
            stream.reset(2)

        server.set_stream_handler(abandon)
        for number in range(1000):
            stream = await asyncio.wait_for(client.open_stream(), PATIENCE)
            with contextlib.suppress(StreamReset):
                stream.send_nowait(bytes(100))
            if number % 2:
                stream.reset(1)
                stream.stop(1)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: server.statistics().streams_open == 0, "the acceptor forgets abandoned streams")
        await until(lambda: client.statistics().streams_open == 0, "the opener forgets abandoned streams")


async def opening_waits_for_the_peers_limit(make_pair: MakePair) -> None:
    async with make_pair(streams=2) as (client, server):
        first, first_far = await open_both(client, server)
        await open_both(client, server)
        third = asyncio.create_task(client.open_stream())
        cancelled = asyncio.create_task(client.open_stream())
        await asyncio.sleep(0.05)
        assert not third.done()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        first.finish()
        first_far.finish()
        assert await read_all(first) == b""
        assert await read_all(first_far) == b""
        stream = await asyncio.wait_for(third, PATIENCE)
        await stream.send(b"in at last")
        far = await asyncio.wait_for(server.accept_stream(), PATIENCE)
        assert await asyncio.wait_for(far.receive(), PATIENCE) == b"in at last"


async def a_stream_handler_takes_queued_and_later_streams(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near = await client.open_stream()
        await near.send(b"early")
        other = await server.open_stream()
        await other.send(b"so that the first surely arrived")
        far_other = await asyncio.wait_for(client.accept_stream(), PATIENCE)
        await asyncio.wait_for(far_other.receive(), PATIENCE)
        taken: list[Stream] = []
        server.set_stream_handler(taken.append)
        await until(lambda: len(taken) == 1, "the queued stream is handed over")
        near = await client.open_stream()
        await near.send(b"late")
        await until(lambda: len(taken) == 2, "a later stream is handed over")
        received = [await asyncio.wait_for(stream.receive(), PATIENCE) for stream in taken]
        assert received == [b"early", b"late"]


async def a_cancelled_accept_loses_no_stream(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        waiting = [asyncio.create_task(server.accept_stream()) for _ in range(3)]
        await asyncio.sleep(0)
        near = await client.open_stream()
        near.send_nowait(b"for whoever is left", finish=True)
        waiting[0].cancel()
        waiting[1].cancel()
        far = await asyncio.wait_for(waiting[2], PATIENCE)
        assert await read_all(far) == b"for whoever is left"
        await asyncio.gather(*waiting, return_exceptions=True)


async def datagrams_go_both_ways_and_have_a_size(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        assert client.send_datagram(b"ping")
        assert await asyncio.wait_for(server.receive_datagram(), PATIENCE) == b"ping"
        assert server.send_datagram(bytes(1100))
        assert await asyncio.wait_for(client.receive_datagram(), PATIENCE) == bytes(1100)
        assert client.send_datagram(bytes(20_000)) is False
        assert client.send_datagram(b"still works")
        assert await asyncio.wait_for(server.receive_datagram(), PATIENCE) == b"still works"


async def unread_datagrams_are_bounded(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        sent = 0
        while server.statistics().datagrams_dropped == 0:
            sent += client.send_datagram(sent.to_bytes(4))
            await asyncio.sleep(0)
            assert sent < 200 * DATAGRAM_QUEUE
        kept = 0
        while kept < DATAGRAM_QUEUE:
            await asyncio.wait_for(server.receive_datagram(), PATIENCE)
            kept += 1
        await open_both(client, server)


async def a_handler_is_given_what_waited_and_each_datagram_that_follows(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        client.send_datagram(b"early")
        first = await asyncio.wait_for(server.receive_datagram(), PATIENCE)
        client.send_datagram(b"waits")
        near, far = await open_both(client, server)  # behind the datagram
        taken: list[bytes] = []
        server.set_datagram_handler(taken.append)
        client.send_datagram(b"late")
        near.send_nowait(b"x", finish=True)
        await read_all(far)
        async with asyncio.timeout(PATIENCE):
            while len(taken) < 2:
                await asyncio.sleep(0.001)
        assert (first, taken) == (b"early", [b"waits", b"late"])


async def closing_wakes_everyone_who_waits(make_pair: MakePair) -> None:
    async with make_pair(stream_window=65536, connection_window=131072, streams=2) as (client, server):
        near, _far = await open_both(client, server)
        back, _back_far = await open_both(client, server)
        waiting = [
            asyncio.create_task(near.receive()),
            asyncio.create_task(back.send(bytes(4 * SEND_HIGH_WATER))),
            asyncio.create_task(client.accept_stream()),
            asyncio.create_task(client.receive_datagram()),
            asyncio.create_task(client.open_stream()),
        ]
        closed = asyncio.create_task(client.wait_closed())
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        server.close(42, "maintenance")
        for task in waiting:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(task, PATIENCE)
            assert (caught.value.code, caught.value.reason, caught.value.local) == (42, "maintenance", False)
        info = await asyncio.wait_for(closed, PATIENCE)
        assert (info.code, info.reason, info.local, info.idle) == (42, "maintenance", False, False)
        with pytest.raises(ConnectionClosed):
            near.send_nowait(b"x")
        with pytest.raises(ConnectionClosed):
            await client.open_stream()
        assert client.send_datagram(b"x") is False
        near.finish()
        near.reset()
        near.stop()


async def closing_twice_is_closing_once(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, _far = await open_both(client, server)
        client.close(1, "first")
        client.close(2, "second")
        info = await client.wait_closed()
        assert (info.code, info.reason, info.local) == (1, "first", True)
        with pytest.raises(ConnectionClosed) as caught:
            await near.receive()
        assert caught.value.local
        told = await asyncio.wait_for(server.wait_closed(), PATIENCE)
        assert (told.code, told.reason, told.local) == (1, "first", False)
        server.close()
        assert client.statistics().streams_open == server.statistics().streams_open == 0


async def streams_opened_before_the_end_can_still_be_accepted(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near = await client.open_stream()
        near.send_nowait(b"last words", finish=True)
        other, _ = await open_both(server, client)
        await other.send(b"so that the first surely arrived")
        client.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE)
        far = await asyncio.wait_for(server.accept_stream(), PATIENCE)
        assert await read_all(far) == b"last words"
        with pytest.raises(ConnectionClosed):
            await server.accept_stream()


async def statistics_count_bytes_and_streams(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        near.send_nowait(bytes(30_000), finish=True)
        assert len(await read_all(far)) == 30_000
        assert client.statistics().bytes_sent >= 30_000
        assert server.statistics().bytes_received >= 30_000
        assert client.statistics().streams_open == server.statistics().streams_open == 1
        assert client.statistics().engine == server.statistics().engine
        assert str(client.peer_address[1]) in repr(client)


async def everything_is_delivered_though_the_peer_keeps_its_side_open(make_pair: MakePair) -> None:
    async with make_pair(stream_window=64 * 1024) as (client, server):
        near, far = await open_both(client, server)
        data = bytes(100_000)
        for piece in (data, data):
            near.send_nowait(piece)
        assert client.statistics().bytes_undelivered > 0
        near.finish()
        assert len(await read_all(far)) == 2 * len(data)
        await until(lambda: client.statistics().bytes_undelivered == 0, "everything is acknowledged")
        assert client.statistics().streams_open == 1


CONNECTION_CHECKS: tuple[Check, ...] = (
    a_stalled_reader_stops_its_sender_and_no_other,
    the_connection_window_bounds_all_stalled_streams_together,
    a_stopped_or_reset_stream_gives_its_credit_back,
    send_nowait_tells_when_to_drain,
    finished_streams_leave_no_state,
    abandoned_streams_leave_no_state,
    opening_waits_for_the_peers_limit,
    a_stream_handler_takes_queued_and_later_streams,
    a_cancelled_accept_loses_no_stream,
    datagrams_go_both_ways_and_have_a_size,
    unread_datagrams_are_bounded,
    a_handler_is_given_what_waited_and_each_datagram_that_follows,
    closing_wakes_everyone_who_waits,
    closing_twice_is_closing_once,
    streams_opened_before_the_end_can_still_be_accepted,
    statistics_count_bytes_and_streams,
    everything_is_delivered_though_the_peer_keeps_its_side_open,
)
