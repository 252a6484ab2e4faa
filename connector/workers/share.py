"""What one of several processes does of the work of one connector. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from pyconnector.connector.discovery.address_book import Region
    from pyconnector.connector.management.sessions import Elsewhere
    from pyconnector.connector.observe.server.metrics_server import Page
    from pyconnector.transport.seam import Address


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_have_workers() -> bool:
    """Whether sockets can be handed to other processes here."""
    return sys.platform != "win32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Process `number` of `workers`, counted from 0. As it is made by default: the only one, which does everything."""

    number: int = 0
    workers: int = 1
    connector_id: UUID | None = None
    "The id that all of them register with; None to make one."
    pushed: tuple[int, bytes] | None = None
    "Version and text of the configuration that the edge pushed last, to any of them: it is in force from the start."
    tell_others: Callable[[int, bytes], Awaitable[None]] | None = None
    "Hands a configuration that the edge pushed to the other processes, and waits until they have it."

    logs: Elsewhere | None = None
    "The log of the other processes, for those who read this one's from afar."
    metrics: Page | None = None
    "Makes the page with the figures of all."

    def indices(self, connections: int) -> range:
        """The indices of `connections` that are this process's: every so manieth."""
        return range(self.number, connections, self.workers)

    @property
    def choose(self) -> Callable[[Sequence[Address]], Address] | None:
        """How to choose among equally good addresses, so that processes choose different ones; None for by chance."""
        return None if self.workers == 1 else lambda addresses: addresses[self.number % len(addresses)]

    def regions(self, regions: Sequence[Region]) -> Sequence[Region]:
        """Return the addresses for this process, where each may be used once; all, where there are too few."""
        if self.workers == 1:
            return regions
        own = [replace(region, addresses=self._own(region, place)) for place, region in enumerate(regions)]
        return own if any(region.addresses for region in own) else regions

    def _own(self, region: Region, place: int) -> list[Address]:
        """This process's addresses of a region, those of the primary family first as they were."""
        if not region.addresses:
            return []
        primary = ":" in region.addresses[0][0]
        # Every process asks by itself, and may be answered in another order.
        ordered = sorted(region.addresses, key=lambda address: ((":" in address[0]) != primary, address))
        return ordered[(self.number - place) % self.workers :: self.workers]

    def of_flows(self, limit: int) -> int:
        """This process's part of the most flows at once: rounded up, and 0 for no limit."""
        return -(-limit // self.workers)

    async def pass_on(self, version: int, config: bytes) -> None:
        """Let the other processes have a pushed configuration. Cancel: they have it all the same, somewhat later."""
        if self.tell_others is not None:
            await self.tell_others(version, config)
