"""Proxies in front of the edge that end TLS for it: what they say of a visitor counts, and nobody else's word. Pure.

A proxy has to write `X-Forwarded-Proto` anew and to add the visitor to `X-Forwarded-For`, as all of them do; what the
visitor itself said stands before that, and is not taken for anything.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = list[tuple[bytes, bytes]]
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Entries of X-Forwarded-For that are looked at, from the last one on: as many proxies may stand behind each other.
MAX_HOPS: Final = 10
#: Characters of an entry: of the longest address, in brackets, with a port.
MAX_HOP: Final = 53
#: As some proxies write it: the address with the visitor's port.
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class TrustedProxies:
    """The networks whose word counts."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(maxsize=1024)(self._is_within)

    def __repr__(self) -> str:
        return f"<TrustedProxies {', '.join(map(str, self._networks))}>"

    def trusts(self, address: str) -> bool:
        """Return whether a connection from `address` is a proxy's."""
        return bool(self._networks) and self._known(address)

    def told(self, headers: Headers, proxy: str) -> tuple[str, str]:
        """Return scheme and address of the visitor for whom the proxy at `proxy` asks.

        Anything but one `X-Forwarded-Proto: https` is `http`; where no address is said, it is the proxy's.
        """
        schemes = [value for name, value in headers if len(name) == 17 and name.lower() == b"x-forwarded-proto"]
        scheme = "https" if [value.strip().lower() for value in schemes] == [b"https"] else "http"
        hops = b",".join(value for name, value in headers if len(name) == 15 and name.lower() == b"x-forwarded-for")
        for hop in hops.rsplit(b",", MAX_HOPS)[: -MAX_HOPS - 1 : -1]:
            address = _address(hop)
            if address is None:
                return scheme, proxy
            if not self.trusts(address):
                return scheme, address
        return scheme, proxy

    def _is_within(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def _address(hop: bytes) -> str | None:
    text = hop.strip().decode("latin-1")
    if len(text) > MAX_HOP:
        return None
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] or with_port[2]
    return None if (parsed := _parsed(text)) is None else str(parsed)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return address if mapped is None else mapped
