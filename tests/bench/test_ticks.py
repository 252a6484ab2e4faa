"""The bench of ticks: it counts every tick once, and knows how old it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bench.ticks import HEAD, WARM_UP, slice_of, tick, visit

#: Seconds after which an origin that does not notice that its visitors are gone fails the test.
PATIENCE = 30.0


@asynccontextmanager
async def origin(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Any]:
    """Yield the address of a server whose connections all end before the test does."""
    running: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        await handler(reader, writer)
        with suppress(ConnectionError):  # the visitor was gone first
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*running)


async def test_ticks_come_every_10_ms_and_are_young_when_they_come() -> None:
    async with origin(tick) as address:
        p50, p99, came = await slice_of(address, 2, WARM_UP + 0.5)
        assert 0 < p50 <= p99 < 500
        assert 0.3 < came < 1.2


async def test_the_age_of_a_tick_is_the_time_since_it_was_sent() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for _ in range(int(WARM_UP / 0.05) + 4):
            await asyncio.sleep(0.05)
            writer.write(b"data: %d\n" % (time.monotonic_ns() - 2_000_000_000))
        writer.write(b"data: %d\n" % (time.monotonic_ns() - 2_000_000_000))
        writer.close()

    async with origin(late) as address:
        ages = await visit(address, WARM_UP + 0.1)
        assert ages
        assert all(2.0 <= age < 3.0 for age in ages)
