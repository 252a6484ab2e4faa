"""Which destinations go through the gateway: those that are included, or all where nothing is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Includes:
    """Networks and names."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Each is a network, an address, a name, or `*.suffix`.

        Raises:
            ValueError: one is none of these.
        """
        self.texts = tuple(texts)
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._names: list[str] = []
        for text in self.texts:
            try:
                self._networks.append(ipaddress.ip_network(text))
                continue
            except ValueError:
                name = text.lower().removesuffix(".")
            bare = name.removeprefix("*.")
            if not bare or not bare.isascii() or "*" in bare or "/" in bare or any(char.isspace() for char in bare):
                raise ValueError(f"{text[:100]!r} is no network and no name, such as 10.0.0.0/8 or *.internal")
            self._names.append(name)

    def __repr__(self) -> str:
        return f"<Includes networks={len(self._networks)} names={len(self._names)}>"

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Those that are included."""
        return tuple(self._networks)

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are included, perhaps `*.suffix`."""
        return tuple(self._names)

    def takes(self, host: str) -> bool:
        """Return whether a destination goes through the gateway."""
        if not self._networks and not self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name = host.lower().removesuffix(".")
            return any(name.endswith(each[1:]) if each.startswith("*.") else name == each for each in self._names)
        return any(address.version == network.version and address in network for network in self._networks)
