"""The bench of ticks: it counts every tick once, and knows how old it is."""

from __future__ import annotations

import asyncio
import time

from bench.ticks import HEAD, INTERVAL, WARM_UP, slice_of, tick, visit


def test_ticks_come_every_10_ms_and_are_young_when_they_come() -> None:
    async def main() -> None:
        server = await asyncio.start_server(tick, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()[:2]
            p50, p99, came = await slice_of(address, 2, WARM_UP + 0.5)
            assert 0 < p50 <= p99 < 500
            assert 0.3 < came < 1.2
        await asyncio.sleep(2 * INTERVAL)  # the origin notices that its visitors are gone

    asyncio.run(main())


def test_the_age_of_a_tick_is_the_time_since_it_was_sent() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for _ in range(int(WARM_UP / 0.05) + 4):
            await asyncio.sleep(0.05)
            writer.write(b"data: %d\n" % (time.monotonic_ns() - 2_000_000_000))
        writer.write(b"data: %d\n" % (time.monotonic_ns() - 2_000_000_000))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(late, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()[:2]
            ages = await visit(address, WARM_UP + 0.1)
            assert ages
            assert all(2.0 <= age < 3.0 for age in ages)

    asyncio.run(main())
