"""What an edge needs for a decision once it knows every object: time, and the time to take the snapshot."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable
from typing import Any

from pyconnector.edge.access.state import AccessState
from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.edge.directory.client import ControlClient
from pyconnector.edge.directory.directory import Directory
from pyconnector.edge.directory.values import parse_snapshot

#: Decisions of each kind that are timed.
DECISIONS = 200_000


async def decisions(url: str, token: str, zone: str, *, routes: int, hostnames: int) -> list[tuple[str, str]]:
    """Return what was measured, in words. Cancel at any time."""
    client = ControlClient(url, token)
    try:
        begun = time.perf_counter()
        number, objects = parse_snapshot(await client.snapshot())
        fetched = time.perf_counter() - begun
    finally:
        await client.close()
    tunnels = Tunnels()
    directory = Directory(tunnels, lambda _: None, lambda: None, AccessState())
    begun = time.perf_counter()
    directory.take_snapshot(number, objects)
    taken = time.perf_counter() - begun
    chosen = random.Random(1)
    names = [f"host-{chosen.randrange(hostnames)}.{zone}" for _ in range(DECISIONS)]
    first = int(ipaddress.ip_address("10.0.0.0"))
    addresses = [ipaddress.ip_address(first + chosen.randrange(4 * routes)) for _ in range(DECISIONS)]
    by_name = _each(lambda: [tunnels.for_host(name) for name in names])
    by_address = _each(lambda: [directory.routes.for_address(address) for address in addresses])
    return [
        ("snapshot: fetched and parsed", f"{fetched:.2f} s"),
        ("snapshot: taken by the edge", f"{taken:.2f} s"),
        ("which tunnel serves a hostname", f"{by_name:.2f} us"),
        ("which tunnel serves an address", f"{by_address:.2f} us"),
    ]


def _each(work: Callable[[], list[Any]]) -> float:
    begun = time.perf_counter()
    found = work()
    took = time.perf_counter() - begun
    assert all(found)
    return took / DECISIONS * 1e6
