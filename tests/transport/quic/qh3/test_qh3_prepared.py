"""Streams may end while the qh3 engine's core still has a frame of theirs prepared (see `prepared`)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.errors import StreamReset
from pyconnector.transport.quic import connect
from pyconnector.transport.quic.qh3_engine.prepared import PREPARED
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import exchange, open_both, read_all, until
from tests.transport.pairs.aioquic_pair import client_tls
from tests.transport.pairs.qh3_pair import qh3_pair, serve
from tests.transport.pairs.qh3_relay import bad_path, relay_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
    from pyconnector.transport.seam import Stream
    from pyconnector.transport.udp.batched import Datagram

LANES, REQUESTS = 16, 20
#: Bytes of which one frame leaves no room for another in its packet.
FRAME = 1350


class Held:
    """Keeps what one end sends, as a slow path does, until `release`; no timer of that end runs meanwhile."""

    def __init__(self, end: Qh3Connection) -> None:
        self._end = end
        self._send, self._arm = end.endpoint.send, end._arm
        self.kept: list[Datagram] = []
        end.endpoint.send = self.kept.extend  # type: ignore[assignment, method-assign]
        end._arm = lambda now: None  # type: ignore[method-assign]
        if end._timer is not None:
            end._timer.cancel()
            end._timer = None

    def release(self) -> None:
        """Let it all go, and run the timer again."""
        self._end.endpoint.send = self._send  # type: ignore[method-assign]
        self._end._arm = self._arm  # type: ignore[method-assign]
        self._send(self.kept)
        self._end.want_flush()


def write_together(end: Qh3Connection, streams: list[Stream], data: bytes) -> None:
    """Write to each stream in one turn, to leave with the next flush."""
    end._receiving = True  # as while datagrams are taken
    for stream in streams:
        stream.send_nowait(data)
    end._receiving = False


@asynccontextmanager
async def asked_with_a_full_window() -> AsyncIterator[tuple[Qh3Connection, Qh3Connection, Stream, Stream, Held]]:
    """Yield an end whose window does not let all leave that is written and not flushed yet, its peer, both ends of a
    stream on which a question was asked and acknowledged, and what is held."""
    async with qh3_pair() as (near, far):
        asked, answering = await open_both(near, far, b"question")
        asked.finish()
        assert await read_all(answering) == b""
        await until(lambda: not near.core.bytes_in_flight, "all is acknowledged")
        near.flush()
        held = Held(near)
        first, *others = [await near.open_stream() for _ in range(PREPARED)]
        write_together(near, [first], bytes(near.core.congestion_window - 5 * FRAME))

        def is_nearly_full() -> bool:
            near.flush()  # again, for the core's pacing
            return not near.engine_unsent_total()

        await until(is_nearly_full, "a window that is nearly full")
        await asyncio.sleep(0.05)  # for the core's pacing
        write_together(near, others, bytes(FRAME))
        yield near, far, asked, answering, held


async def came(near: Qh3Connection, answering: Stream) -> None:
    """Answer, and wait until a packet came to `near`."""
    before = near._packets
    answering.send_nowait(b"answer", finish=True)
    await until(lambda: near._packets > before, "the answer")


async def outlives(near: Qh3Connection, far: Qh3Connection, asked: Stream, held: Held) -> None:
    assert near.engine_unsent_total(), "not all left"
    held.release()
    await until(lambda: near.closed is not None or asked.stream_id not in near.streams, "the end of the stream")
    await until(lambda: near.closed is not None or not near.core.bytes_in_flight, "all is sent")
    assert near.closed is None
    assert far.closed is None


async def test_stop_that_waits_for_the_window_outlives_the_end_of_its_stream() -> None:
    async with asked_with_a_full_window() as (near, far, asked, answering, held):
        asked.stop()
        near.flush()
        await came(near, answering)
        await outlives(near, far, asked, held)


async def test_reset_that_waits_for_the_window_outlives_the_end_of_its_stream() -> None:
    """The core answers a stop with a reset, though its own end of the stream was acknowledged before."""

    async with asked_with_a_full_window() as (near, far, asked, answering, held):
        before = near._packets
        far.core.stop_sending(asked.stream_id, 0)
        far.flush()
        await until(lambda: near._packets > before, "the stop")
        await came(near, answering)
        await outlives(near, far, asked, held)


async def test_stop_that_arrives_while_events_are_held_is_waited_for() -> None:
    async with asked_with_a_full_window() as (near, far, asked, answering, held):
        usual, near._unread_limit = near._unread_limit, 0
        before = near._packets
        far.core.stop_sending(asked.stream_id, 0)
        far.flush()
        await until(lambda: near._packets > before, "the stop")
        near.flush()
        await came(near, answering)
        near._unread_limit = usual
        near._resume()
        await outlives(near, far, asked, held)


async def test_stop_leaves_together_with_the_reset_of_its_stream() -> None:
    async with qh3_pair() as (near, far):
        asked, answering = await open_both(near, far)
        held = Held(far)  # and with it what acknowledges the reset

        def is_stopped() -> bool:
            try:
                answering.send_nowait(b"")
            except StreamReset:
                return True
            return False

        asked.reset(1)
        asked.stop(2)
        with pytest.raises(StreamReset):
            await answering.receive()
        await until(is_stopped, "the stop")
        held.release()


async def test_peer_is_told_at_once_that_the_core_failed() -> None:
    async with asked_with_a_full_window() as (near, far, asked, answering, held):
        asked.stop()
        near.flush()
        await came(near, answering)
        while near.core.next_event() is not None:
            pass  # as the engine must not
        held.release()
        await until(lambda: near.closed is not None, "the failure")
        await until(lambda: far.closed is not None, "word of it")
        assert far.closed is not None
        assert not far.closed.local
        assert "reserved stream is missing" in far.closed.reason


async def test_events_do_not_wait_for_a_full_window_where_nothing_is_prepared() -> None:
    async with qh3_pair() as (near, far):
        asked, answering = await open_both(near, far, b"question")
        await until(lambda: not near.core.bytes_in_flight, "all is acknowledged")
        held = Held(near)
        (await near.open_stream()).send_nowait(bytes(40 * FRAME))
        near.stream_given_up()

        def is_full() -> bool:
            near.flush()  # again, for the core's pacing
            return near.prepared.are_left

        await until(is_full, "a full window")
        answering.send_nowait(b"answer")
        assert await asyncio.wait_for(asked.receive(), 30) == b"answer"
        assert near.engine_unsent_total(), "the window is full"
        held.release()


async def test_nothing_is_sent_while_events_are_taken() -> None:
    """A frame that was prepared in between could be one of the stream whose end is the next event."""

    async with qh3_pair() as (near, far):
        await exchange(near, far)
        near.set_stream_handler(lambda stream: cast("None", stream.send_nowait(bytes(FRAME), finish=True)))
        take, before = near.take_events, near._packets
        near.take_events = lambda: None  # type: ignore[method-assign]
        asked = await far.open_stream()
        asked.send_nowait(b"question", finish=True)
        await until(lambda: near._packets > before, "the question")
        near.take_events = take  # type: ignore[method-assign]
        held = Held(near)
        near.take_events()
        assert len(near.streams) == 1
        assert not held.kept
        held.release()
        assert await read_all(asked) == bytes(FRAME)


@pytest.mark.parametrize("lost", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
async def test_requests_are_answered_over_a_path_that_loses_repeats_and_reorders(seed: int, lost: float) -> None:
    settings = QuicSettings(engine="qh3", idle_timeout=30)
    async with serve(settings) as server, relay_to(server.listener.address) as relay, asyncio.TaskGroup() as group:
        client = await connect(relay.address, tls=client_tls(), settings=settings)
        far = await server.next()
        relay.to_server, relay.to_client = bad_path(seed, lost), bad_path(seed + 1000, lost)

        async def answer(stream: Stream) -> None:
            await read_all(stream)
            stream.send_nowait(bytes(3000), finish=True)

        async def ask() -> None:
            for _ in range(REQUESTS):
                near = await client.open_stream()
                near.send_nowait(bytes(64), finish=True)
                assert await read_all(near) == bytes(3000)

        far.set_stream_handler(lambda stream: cast("None", group.create_task(answer(stream))))
        async with asyncio.TaskGroup() as asking:
            for _ in range(LANES):
                asking.create_task(ask())
        client.close()
