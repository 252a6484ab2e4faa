"""Conformance: one stream's bytes, ends, aborts and waiting tasks."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from pyconnector.transport.errors import ConnectionClosed, StreamBusy, StreamClosed, StreamReset
from pyconnector.transport.seam import SEND_HIGH_WATER
from tests.transport.conformance import PATIENCE, Check, MakePair, open_both, read_all, send_all, until


async def data_goes_both_ways_on_streams_of_either_end(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        for opener, acceptor in ((client, server), (server, client)):
            near, far = await open_both(opener, acceptor, b"hello")
            assert near.stream_id == far.stream_id
            await far.send(b"world")
            assert await asyncio.wait_for(near.receive(), PATIENCE) == b"world"


async def large_transfers_arrive_whole_in_both_directions_at_once(make_pair: MakePair) -> None:
    seeded = random.Random(7)
    there, back = seeded.randbytes(3_000_001), seeded.randbytes(2_500_003)
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(near, there, step=77_777))
            group.create_task(send_all(far, back, step=3_333))
            arrived = group.create_task(read_all(far, 10_007))
            returned = group.create_task(read_all(near))
        assert hashlib.sha256(arrived.result()).digest() == hashlib.sha256(there).digest()
        assert hashlib.sha256(returned.result()).digest() == hashlib.sha256(back).digest()


async def many_tiny_pieces_arrive_whole(make_pair: MakePair) -> None:
    data = random.Random(8).randbytes(5_000)
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        for index in range(len(data)):
            await near.send(data[index : index + 1])
        near.finish()
        assert await read_all(far, 333) == data


async def a_receive_never_exceeds_its_limit(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        near.send_nowait(bytes(range(100)), finish=True)
        first = await asyncio.wait_for(far.receive(10), PATIENCE)
        assert first == bytes(range(10))
        assert first + await read_all(far, 7) == bytes(range(100))


async def receive_nowait_tells_nothing_yet_from_the_end(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        assert far.receive_nowait() is None
        near.finish()
        assert await asyncio.wait_for(far.receive(), PATIENCE) == b""
        assert far.receive_nowait() == b""
        assert await far.receive() == b""


async def an_empty_stream_can_be_finished(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near = await client.open_stream()
        near.finish()
        far = await asyncio.wait_for(server.accept_stream(), PATIENCE)
        assert await read_all(far) == b""
        await far.send(b"still open this way")
        assert await asyncio.wait_for(near.receive(), PATIENCE) == b"still open this way"


async def each_direction_ends_by_itself(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        near.finish()
        assert await read_all(far) == b""
        await far.send(b"answer after your end")
        far.finish()
        assert await read_all(near) == b"answer after your end"

        near, far = await open_both(client, server)
        far.finish()
        assert await read_all(near) == b""
        await near.send(b"more after your end")
        near.finish()
        assert await read_all(far) == b"more after your end"


async def sending_after_the_end_is_refused(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        near.finish()
        near.finish()
        with pytest.raises(StreamClosed):
            await near.send(b"x")
        with pytest.raises(StreamClosed):
            near.send_nowait(b"", finish=True)
        far.reset(3)
        far.finish()
        with pytest.raises(StreamClosed):
            far.send_nowait(b"x")


async def a_reset_reaches_the_reader_with_its_code(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        waiting = asyncio.create_task(far.receive())
        await asyncio.sleep(0)
        near.reset(77)
        near.reset(78)
        with pytest.raises(StreamReset) as caught:
            await asyncio.wait_for(waiting, PATIENCE)
        assert caught.value.code == 77
        with pytest.raises(StreamReset):
            far.receive_nowait()
        await far.send(b"the other direction lives")
        assert await asyncio.wait_for(near.receive(), PATIENCE) == b"the other direction lives"


async def a_stop_reaches_the_sender_with_its_code(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        aborted = asyncio.Event()
        near.set_abort_callback(aborted.set)
        far.stop(9)
        far.stop(10)
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        with pytest.raises(StreamReset) as caught:
            await near.send(b"x")
        assert caught.value.code == 9
        with pytest.raises(StreamReset):
            near.send_nowait(b"x")
        with pytest.raises(StreamClosed):
            await far.receive()
        await far.send(b"the other direction lives")
        assert await asyncio.wait_for(near.receive(), PATIENCE) == b"the other direction lives"


async def a_stop_wakes_a_sender_that_waits(make_pair: MakePair) -> None:
    async with make_pair(stream_window=65536, connection_window=131072) as (client, server):
        near, far = await open_both(client, server)
        waiting = asyncio.create_task(near.send(bytes(SEND_HIGH_WATER * 2)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        far.stop(5)
        with pytest.raises(StreamReset) as caught:
            await asyncio.wait_for(waiting, PATIENCE)
        assert caught.value.code == 5


async def a_stop_after_everything_was_sent_is_no_abort(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        aborts: list[int] = []
        near.set_abort_callback(lambda: aborts.append(1))
        near.send_nowait(b"all of it", finish=True)
        assert await asyncio.wait_for(far.receive(), PATIENCE) == b"all of it"
        far.stop(0)
        far.send_nowait(b"answer", finish=True)
        assert await read_all(near) == b"answer"
        await asyncio.sleep(0)
        assert aborts == []


async def a_cancelled_receive_loses_nothing(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        received = b""
        cancelled = 0
        for turns in range(60):
            waiting = asyncio.create_task(far.receive())
            near.send_nowait(b"abc")
            for _ in range(turns % 6):
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                received += await waiting
            except asyncio.CancelledError:
                cancelled += 1
        near.finish()
        assert cancelled > 0
        assert received + await read_all(far) == b"abc" * 60


async def a_cancelled_send_still_sends(make_pair: MakePair) -> None:
    async with make_pair(stream_window=65536, connection_window=131072) as (client, server):
        near, far = await open_both(client, server)
        data = random.Random(9).randbytes(SEND_HIGH_WATER * 2)
        waiting = asyncio.create_task(near.send(data))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        near.finish()
        assert await read_all(far) == data


async def a_direction_has_one_user_at_a_time(make_pair: MakePair) -> None:
    async with make_pair(stream_window=65536, connection_window=131072) as (client, server):
        near, far = await open_both(client, server)
        receiving = asyncio.create_task(near.receive())
        sending = asyncio.create_task(near.send(bytes(SEND_HIGH_WATER * 2)))
        await asyncio.sleep(0.01)
        for busy in (near.receive(), near.send(b"x"), near.drain()):
            with pytest.raises(StreamBusy):
                await busy
        with pytest.raises(StreamBusy):
            near.receive_nowait()
        with pytest.raises(StreamBusy):
            near.send_nowait(b"x")
        await far.send(b"for the first")
        assert await asyncio.wait_for(receiving, PATIENCE) == b"for the first"
        far.stop()
        with pytest.raises(StreamReset):
            await asyncio.wait_for(sending, PATIENCE)


async def the_abort_callback_is_called_once_for_each_kind_of_abort(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        calls: list[str] = []
        by_reset, far_reset = await open_both(client, server)
        by_stop, far_stop = await open_both(client, server)
        by_end, _far_end = await open_both(client, server)
        finished, far_finished = await open_both(client, server)
        by_reset.set_abort_callback(lambda: calls.append("reset"))
        by_stop.set_abort_callback(lambda: calls.append("stop"))
        by_end.set_abort_callback(lambda: calls.append("end"))
        finished.set_abort_callback(lambda: calls.append("finished"))
        removed, far_removed = await open_both(client, server)
        removed.set_abort_callback(lambda: calls.append("removed"))
        removed.set_abort_callback(None)
        far_removed.reset(1)
        finished.finish()
        assert await read_all(far_finished) == b""
        far_finished.finish()
        assert await read_all(finished) == b""
        far_reset.reset(1)
        far_reset.stop(1)
        far_stop.stop(1)
        await until(lambda: {"reset", "stop"} <= set(calls), "aborts by the peer")
        late: list[int] = []
        by_reset.set_abort_callback(lambda: late.append(1))
        assert late == [1], "an abort that already happened is told at once"
        server.close(4, "gone")
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
        await until(lambda: "end" in calls, "abort by the end of the connection")
        assert sorted(calls) == ["end", "reset", "stop"]
        with pytest.raises(ConnectionClosed):
            await by_end.receive()


async def stopping_wakes_the_own_receiver_and_drops_what_waits(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        near, far = await open_both(client, server)
        waiting = asyncio.create_task(far.receive())
        await asyncio.sleep(0)
        far.stop(1)
        with pytest.raises(StreamClosed):
            await asyncio.wait_for(waiting, PATIENCE)
        near, far = await open_both(client, server)
        near.send_nowait(b"taken and never taken", finish=True)
        assert await asyncio.wait_for(far.receive(5), PATIENCE) == b"taken"
        far.stop(1)
        with pytest.raises(StreamClosed):
            far.receive_nowait()


STREAM_CHECKS: tuple[Check, ...] = (
    data_goes_both_ways_on_streams_of_either_end,
    large_transfers_arrive_whole_in_both_directions_at_once,
    many_tiny_pieces_arrive_whole,
    a_receive_never_exceeds_its_limit,
    receive_nowait_tells_nothing_yet_from_the_end,
    an_empty_stream_can_be_finished,
    each_direction_ends_by_itself,
    sending_after_the_end_is_refused,
    a_reset_reaches_the_reader_with_its_code,
    a_stop_reaches_the_sender_with_its_code,
    a_stop_wakes_a_sender_that_waits,
    a_stop_after_everything_was_sent_is_no_abort,
    a_cancelled_receive_loses_nothing,
    a_cancelled_send_still_sends,
    a_direction_has_one_user_at_a_time,
    the_abort_callback_is_called_once_for_each_kind_of_abort,
    stopping_wakes_the_own_receiver_and_drops_what_waits,
)
