"""PROXY protocol headers, versions 1 and 2 (HAProxy's proxy-protocol.txt; upstream wish #369).

Sent before the first byte to a stream service, so that it learns the visitor's address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal, TypeAlias

Endpoint: TypeAlias = tuple[str, int]

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_PROXY, _V2_LOCAL = 0x21, 0x20
_V2_TCP4, _V2_TCP6, _V2_UNSPEC = 0x11, 0x21, 0x00
#: The field in which the edge names the visitor's address.
VISITOR_FIELD = b"cf-connecting-ip"


def proxy_header(version: Literal["v1", "v2"], source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Return the header for a connection from `source` to `destination` (address and port).

    Where either is unknown the service is told so (v1 UNKNOWN, v2 LOCAL). Of different families, both are
    written as IPv6.

    Raises:
        ValueError: an address is no IP address, or a port is out of range.
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else V2_SIGNATURE + bytes((_V2_LOCAL, _V2_UNSPEC, 0, 0))
    first, second = _same_family(ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0]))
    for _, port in (source, destination):
        if not 0 <= port <= 65535:
            raise ValueError("a port is not between 0 and 65535")
    if version == "v1":
        family = "TCP4" if first.version == 4 else "TCP6"
        return f"PROXY {family} {_plain(first)} {_plain(second)} {source[1]} {destination[1]}\r\n".encode("ascii")
    ports = source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    body = first.packed + second.packed + ports
    family_byte = _V2_TCP4 if first.version == 4 else _V2_TCP6
    return V2_SIGNATURE + bytes((_V2_PROXY, family_byte)) + len(body).to_bytes(2, "big") + body


def visitor_address(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the visitor's IP address as the edge named it, or None where it named none, or more than one."""
    named = {value.strip() for name, value in headers if name.lower() == VISITOR_FIELD}
    if len(named) != 1:
        return None
    try:
        return _plain(ipaddress.ip_address(named.pop().decode("ascii")))
    except ValueError:
        return None


_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _same_family(first: _Ip, second: _Ip) -> tuple[_Ip, _Ip]:
    if first.version == second.version:
        return first, second
    return _as_v6(first), _as_v6(second)


def _as_v6(address: _Ip) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(0xFFFF_0000_0000 | int(address))


def _plain(address: _Ip) -> str:
    """Without a zone, and never in a form of more than 39 characters (the v1 line has room for no more)."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        # By hand, because Python 3.13 began to write these with dots.
        number = int(address.ipv4_mapped)
        return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"
    return str(ipaddress.IPv6Address(int(address)))
