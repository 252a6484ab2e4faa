"""A connector's datagrams without its connector: links over connections in memory, services on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pyconnector.connector.datagrams.carrier import DATAGRAM_V3, DatagramCarrier, DatagramLink
from pyconnector.connector.observe.datagram_counters import DatagramCounters
from pyconnector.connector.requests.flow_limiter import FlowLimiter
from pyconnector.transport.memory import MemoryConnection, memory_pair


class World:
    """One carrier, and as many connections to edges as `connect` makes."""

    def __init__(self, version: int, *, limit: int = 0) -> None:
        self.features = (DATAGRAM_V3,) if version == 3 else ()
        self.limiter = FlowLimiter(limit)
        self.counters = DatagramCounters()
        self.carrier = DatagramCarrier(
            limiter=self.limiter,
            counters=self.counters,
            rpc_timeout=5.0,
        )
        self.links: list[DatagramLink] = []

    def connect(self) -> tuple[DatagramLink, MemoryConnection]:
        """Return the link of one more connection, and the edge's end of it."""
        ours, edge = memory_pair()
        link = self.carrier.attach(len(self.links), ours, self.features)
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
    async with asyncio.timeout(30):
        return await edge.receive_datagram()


@contextlib.asynccontextmanager
async def open_world(version: int, *, limit: int = 0) -> AsyncIterator[World]:
    world = World(version, limit=limit)
    try:
        yield world
    finally:
        world.close()
