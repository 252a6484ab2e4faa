"""Which hosts a proxy of the environment is not for: the variable NO_PROXY, as curl and Go's programs read it. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pyconnector.web.host_port import port_number

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Entries that are looked at, so that a variable of any length costs little.
MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class NoProxy:
    """What is reached directly. This machine itself always is."""

    everything: bool = False
    names: tuple[tuple[str, int | None], ...] = ()
    "Each stands for itself and for every name below it; with a port for that alone."
    below: tuple[tuple[str, int | None], ...] = ()
    "Written with a dot in front: names below it alone."
    networks: tuple[tuple[_Network, int | None], ...] = ()

    def covers(self, host: str, port: int) -> bool:
        """Whether `host`, a name or an address, is reached directly at `port`."""
        host = host.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if self.everything or host == "localhost":
                return True
            return any(_is_of(host, name) and wanted in (None, port) for name, wanted in self.names) or any(
                host.endswith(f".{name}") and wanted in (None, port) for name, wanted in self.below
            )
        address = getattr(address, "ipv4_mapped", None) or address
        if self.everything or address.is_loopback:
            return True
        return any(address in network and wanted in (None, port) for network, wanted in self.networks)


def _is_of(host: str, name: str) -> bool:
    return host == name or host.endswith(f".{name}")


def parse_no_proxy(text: str) -> NoProxy:
    """Read names, `.name`, `*.name`, addresses and networks (CIDR), each with a port if wanted, between commas or
    blanks; `*` is everything. What is none of these covers nothing, for the variable is shared with other programs."""
    names: list[tuple[str, int | None]] = []
    below: list[tuple[str, int | None]] = []
    networks: list[tuple[_Network, int | None]] = []
    everything = False
    for entry in text.replace(",", " ").lower().split()[:MAX_ENTRIES]:
        host, port = _with_port(entry)
        if host == "*":
            everything = True
            continue
        try:
            networks.append((ipaddress.ip_network(host, strict=False), port))
        except ValueError:
            name = host.removeprefix("*").rstrip(".")
            if name.startswith("."):
                below.append((name[1:], port))
            elif name:
                names.append((name, port))
    return NoProxy(everything, tuple(names), tuple(below), tuple(networks))


def _with_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, port_number(rest.removeprefix(":"))
    host, colon, port = entry.rpartition(":")
    if colon and ":" not in host and port_number(port) is not None:
        return host, port_number(port)
    return entry, None
