"""Which networks lead into an interface: what the edge says it may be sent, within what is included. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network, summarize_address_range
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.identity.devices.addresses import NAME_RANGE
from pyconnector.protocol.connect_ip import RESOLVER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from ipaddress import IPv4Address, IPv6Address

    from pyconnector.protocol.connect_ip import IpRange

Network: TypeAlias = IPv4Network | IPv6Network


def routes_of(
    ranges: Iterable[IpRange],
    included: tuple[Network, ...],
    *,
    names: bool,
    gateway: Collection[IPv4Address | IPv6Address],
) -> tuple[tuple[Network, ...], tuple[Network, ...]]:
    """Return the routes, and those that were left out since they lead to the gateway itself: what carries the tunnel
    would go into the tunnel. Where nothing is `included` all counts; with `names` that of names does in any case."""
    told = [
        network for each in ranges if not each.protocol for network in summarize_address_range(each.first, each.last)
    ]
    found: dict[Network, None] = {}
    for network in told:
        if network in (NAME_RANGE, ip_network(RESOLVER)):
            if names or not included:
                found[network] = None
        elif not (network.is_loopback or network.is_link_local or network.is_multicast):
            found.update(dict.fromkeys(_within(network, included)))
    around = [
        network for network in found if any(each.version == network.version and each in network for each in gateway)
    ]
    return tuple(network for network in found if network not in around), tuple(around)


def _within(network: Network, included: tuple[Network, ...]) -> list[Network]:
    if not included:
        return [network]
    same = [each for each in included if each.version == network.version and each.overlaps(network)]
    return [max(each, network, key=lambda one: one.prefixlen) for each in same]
