"""A connector's datagrams without its connector: links over connections in memory, services on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pyconnector.connector.datagrams.carrier import DATAGRAM_V3, DatagramCarrier, DatagramLink
from pyconnector.connector.observe.datagram_counters import DatagramCounters
from pyconnector.connector.requests.flow_limiter import FlowLimiter
from pyconnector.transport.memory import MemoryConnection, memory_pair
from tests.support.loop.clock import run_virtual


class World:
    """One carrier, and as many connections to edges as `connect` makes."""

    def __init__(self, version: int, *, limit: int = 0) -> None:
        self.limiter = FlowLimiter(limit)
        self.counters = DatagramCounters()
        self.carrier = DatagramCarrier(
            features=(DATAGRAM_V3,) if version == 3 else (),
            limiter=self.limiter,
            counters=self.counters,
            rpc_timeout=5.0,
        )
        self.links: list[DatagramLink] = []

    def connect(self) -> tuple[DatagramLink, MemoryConnection]:
        """Return the link of one more connection, and the edge's end of it."""
        ours, edge = memory_pair()
        link = self.carrier.attach(len(self.links), ours)
        ours.set_datagram_handler(link.receive)
        self.links.append(link)
        return link, edge

    def close(self) -> None:
        for link in self.links:
            link.close()
        assert self.limiter.active == 0, "a flow's place was not given back"


async def settle() -> None:
    """Let everything that is on its way in memory or on loopback arrive."""
    for _ in range(12):
        await asyncio.sleep(0)


async def next_datagram(edge: MemoryConnection) -> bytes:
    async with asyncio.timeout(5):
        return await edge.receive_datagram()


def run(version: int, scenario: Callable[[World], Coroutine[Any, Any, None]], *, limit: int = 0) -> None:
    async def main() -> None:
        world = World(version, limit=limit)
        try:
            await scenario(world)
        finally:
            world.close()

    run_virtual(main())
