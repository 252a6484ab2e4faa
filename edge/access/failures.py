"""Counts failed attempts by where they come from, so that guessing costs time. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

#: Failures of one source within a minute; beyond, its credentials are not looked at until the minute is over.
MAX_FAILURES = 30
WINDOW = 60.0
#: Sources that are counted; the one longest ago is forgotten first.
MAX_SOURCES = 10_000


class FailureCounts:
    """Failures of each source: an IPv4 address, or a /64 of IPv6, which is what one customer has."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, address: str, now: float) -> None:
        """Count one. `now` is seconds of any clock."""
        source = source_of(address)
        begun, number = self._counts.pop(source, (now, 0))
        if now - begun >= WINDOW:
            begun, number = now, 0
        self._counts[source] = (begun, number + 1)
        if len(self._counts) > MAX_SOURCES:
            self._counts.popitem(last=False)

    def is_too_many(self, address: str, now: float) -> bool:
        """Return whether a source has failed too often lately."""
        if not self._counts:
            return False
        begun, number = self._counts.get(source_of(address), (now, 0))
        return number >= MAX_FAILURES and now - begun < WINDOW


def source_of(address: str) -> str:
    """Return what is counted together with an address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
