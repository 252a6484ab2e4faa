"""Mesh addresses: one for each device, out of one range, never out of it (mesh.md 1: 100.96.0.0/12). Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Where devices get their addresses, and where names get those that stand for them (mesh.md 1, 6).
MESH_RANGE: Final = IPv4Network("100.96.0.0/12")
NAME_RANGE: Final = IPv4Network("172.64.128.0/20")
#: The smallest range (mesh.md 1: pools of /24 and larger).
MAX_PREFIX: Final = 24
#: Where a range may lie: private (RFC 1918), shared (RFC 6598), or that of the product's names.
_ALLOWED: Final = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", str(NAME_RANGE))
)


class RangeError(ValueError):
    """A range that no device or name can have an address of. The text is one sentence."""


def parse_range(text: str) -> IPv4Network:
    """Return a range for devices, or for names.

    Raises:
        RangeError: it is none.
    """
    try:
        found = ip_network(text)
    except ValueError:
        found = None
    if not isinstance(found, IPv4Network):
        raise RangeError(f"{text[:100]!r} is no IPv4 network, such as {MESH_RANGE}")
    if found.prefixlen > MAX_PREFIX or not any(found.subnet_of(allowed) for allowed in _ALLOWED):
        raise RangeError(
            f"{found} is no range for devices or names: a /{MAX_PREFIX} or larger within private or shared addresses"
        )
    return found


def edge_address(mesh_range: IPv4Network) -> IPv4Address:
    """Return the address at which every edge answers devices: its DNS is there."""
    return mesh_range.network_address + 1


def next_address(mesh_range: IPv4Network, last: int, taken: Iterable[int]) -> IPv4Address | None:
    """Return the first free address behind `last`, beginning anew at the end of the range; None where it is full.

    So an address that is given back rests as long as it can: records and rules of before do not mean another device at
    once. `taken` are the addresses of devices, in rising order.
    """
    first, end = int(mesh_range.network_address) + 2, int(mesh_range.broadcast_address)
    begin = last + 1 if first <= last + 1 < end else first
    lowest, behind = first, begin
    for each in taken:
        if each == lowest:
            lowest += 1
        if each == behind:
            behind += 1
        elif each > behind:
            break  # there is room between
    if behind < end:
        return IPv4Address(behind)
    return IPv4Address(lowest) if lowest < end else None
