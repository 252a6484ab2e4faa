"""Addresses that stand for private names, for one device (mesh.md 1, 6). Pure: time is an argument.

A device asks for a name and gets such an address; what it then sends there is meant for the name.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv4Network
from typing import Final

#: Seconds for which a device may keep an answer, and for which an address that stood for a name stands for no other.
TTL, REST = 60, 180.0
#: Names of one device at once.
MAX_NAMES: Final = 4_000


class NameAddresses:
    """Which address stands for which name."""

    def __init__(self, network: IPv4Network) -> None:
        self._first = int(network.network_address) + 1
        self._most = min(MAX_NAMES, network.num_addresses - 2)
        self._names: OrderedDict[str, tuple[IPv4Address, float]] = OrderedDict()
        self._by_address: dict[IPv4Address, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def address_of(self, name: str, now: float) -> IPv4Address | None:
        """Return the address that stands for a lower-case name; None where every one is in use."""
        held = self._names.get(name)
        if held is not None:
            address = held[0]
        elif len(self._names) < self._most:
            address = IPv4Address(self._first + len(self._names))
        else:
            oldest, (address, last) = next(iter(self._names.items()))
            if now - last < REST:
                return None  # whoever was told may still use it
            del self._names[oldest]
        self._keep(name, address, now)
        return address

    def name_of(self, address: IPv4Address, now: float) -> str | None:
        """Return the name that an address stands for, if it does."""
        name = self._by_address.get(address)
        if name is not None:
            self._keep(name, address, now)
        return name

    def _keep(self, name: str, address: IPv4Address, now: float) -> None:
        self._names[name] = (address, now)
        self._names.move_to_end(name)
        self._by_address[address] = name
