"""The addresses of clients: that of the device record, or one of the mesh range for as long as a client is there."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from pyconnector.edge.private.ping import SOURCES
from pyconnector.identity.devices.addresses import MESH_RANGE

#: The IPv6 addresses of a mesh (mesh.md 1): the last 32 bits are the IPv4 address.
MESH_RANGE_V6: Final = IPv6Network("2606:4700:cf1:1000::/64")
#: This end: where errors come from, and where private names are asked for.
ROUTER, ROUTER_V6 = IPv4Address(str(SOURCES[4])), IPv6Address(str(SOURCES[6]))

#: Clients whose last address is remembered.
MAX_REMEMBERED: Final = 10_000


class Addresses:
    """Lends addresses to clients without a device record."""

    def __init__(self, network: IPv4Network = MESH_RANGE) -> None:
        self._first = int(network.network_address) + 2  # behind this end's own
        self._most = network.num_addresses - 3
        self._used: set[IPv4Address] = set()
        self._last: OrderedDict[str, IPv4Address] = OrderedDict()
        self._next = 0

    def __repr__(self) -> str:
        return f"<Addresses used={len(self._used)}>"

    def lend(self, whose: str) -> IPv4Address | None:
        """Return an address that nobody else has, that of before for a client that comes back; None where there is
        none. Give it back."""
        address = self._last.pop(whose, None)
        if address is None or address in self._used:
            address = self._free()
        if address is not None:
            self._used.add(address)
            self._last[whose] = address
            if len(self._last) > MAX_REMEMBERED:
                self._last.popitem(last=False)
        return address

    def _free(self) -> IPv4Address | None:
        if len(self._used) >= self._most:
            return None
        while True:
            address = IPv4Address(self._first + self._next % self._most)
            self._next += 1
            if address not in self._used:
                return address

    def give_back(self, address: IPv4Address) -> None:
        """Let others have it."""
        self._used.discard(address)


def v6_of(address: IPv4Address) -> IPv6Address:
    """Return the IPv6 address that goes with an IPv4 address of the mesh."""
    return IPv6Address(int(MESH_RANGE_V6.network_address) | int(address))
