"""Ten thousand streams that an edge opens and abandons, at every stage: nothing of them stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from pyconnector.protocol.streams.openings import encode_connect_request, encode_rpc_opening
from tests.support.loop.leaks import nothing_left
from tests.support.peers.hostile import Hostility, hostility
from tests.support.peers.scripted_edge import get_request

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

#: These tests write on data streams themselves.
QUIC_ONLY = True

STREAMS = 10_000
AT_ONCE = 250
OPENING = encode_connect_request(get_request("/abandoned"))
#: Closing, for the connections of the keep-alive pool would stay by right.
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
#: Growth of resident memory that is noise: arenas and caches, whatever was abandoned.
NOISE = 24 << 20

Abandon = Callable[["Stream"], Awaitable[None]]


async def without_a_word(stream: Stream) -> None:
    stream.send_nowait(b"\x0a")
    stream.reset()
    stream.stop()


async def in_the_opening(stream: Stream) -> None:
    stream.send_nowait(OPENING[:40])
    await asyncio.sleep(0)
    stream.reset()
    stream.stop()


async def before_the_answer(stream: Stream) -> None:
    stream.send_nowait(OPENING, finish=True)
    await asyncio.sleep(0)
    stream.stop()
    stream.reset()


async def in_the_answer(stream: Stream) -> None:
    stream.send_nowait(OPENING, finish=True)
    assert await stream.receive(5)
    stream.stop()


async def in_an_rpc_call(stream: Stream) -> None:
    stream.send_nowait(encode_rpc_opening() + b"\x00\x00")
    await asyncio.sleep(0)
    stream.reset()
    stream.stop()


STAGES: list[Abandon] = [without_a_word, in_the_opening, before_the_answer, in_the_answer, in_an_rpc_call]


async def abandon(here: Hostility, count: int) -> None:
    async def one(number: int) -> None:
        await STAGES[number % len(STAGES)](await here.edge.open())

    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*[one(number) for number in range(start, min(start + AT_ONCE, count))])


async def settled(here: Hostility) -> None:
    """Wait until both ends have forgotten every stream but the control stream and the one that lasts."""
    async with asyncio.timeout(30):
        while (
            here.connector.statistics().active_requests > 1
            or any(connection.statistics().streams_open > 2 for connection in here.connections())
        ):  # fmt: skip
            await asyncio.sleep(0.01)
    for _ in range(10):
        await asyncio.sleep(0)  # tasks that are done are forgotten at the loop's next turns
    del here.origin.peers[1:]  # which the origin remembers for tests that look at them


@pytest.mark.timeout(180)
async def test_ten_thousand_abandoned_streams_leave_nothing(engine: str) -> None:
    async with hostility(engine, OK) as here:
        await abandon(here, 2 * AT_ONCE)  # what is kept by right (pools, caches) is there from now on
        await settled(here)
        started = asyncio.get_running_loop().time()
        # Fewer than one object for each stream of a single stage.
        async with nothing_left(objects=1500, resident=NOISE):
            await abandon(here, STREAMS)
            await settled(here)
        took = asyncio.get_running_loop().time() - started
        print(f"{STREAMS} streams abandoned in {took:.1f} s with {engine}")
        await here.say(b"none the worse")


async def test_streams_that_stay_open_have_a_limit_and_the_rest_are_told(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyconnector.connector.requests import running

    monkeypatch.setattr(running, "MAX_REQUESTS", 50)

    async with hostility(engine, b"") as here:
        async with nothing_left():
            held = [await here.edge.open(OPENING, finish=True) for _ in range(60)]
            answers = []
            for stream in held[49:]:  # the one that lasts counts too
                async with asyncio.timeout(30):
                    answers.append(await stream.receive())
            assert all(b"already serves 50 streams" in answer for answer in answers)
            for stream in held:
                stream.stop()
                stream.reset()
            await settled(here)
        await here.say(b"room again")
