"""Which networks lead into an interface."""

from __future__ import annotations

from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

import pytest

from pyconnector.agent.interface.routes import routes_of
from pyconnector.edge.private.connect_ip.addresses import ROUTER
from pyconnector.identity.devices.addresses import NAME_RANGE
from pyconnector.protocol.connect_ip import RESOLVER, IpRange

GATEWAY = (ip_address("192.0.2.1"),)


def told(*texts: str) -> list[IpRange]:
    networks = [ip_network(text) for text in texts]
    return [IpRange(network.network_address, network.broadcast_address) for network in networks]


@pytest.mark.parametrize(
    ("ranges", "included", "names", "routes"),
    [
        (("10.0.0.0/8", "fd00::/8"), (), False, ("10.0.0.0/8", "fd00::/8")),
        (("10.0.0.0/8", "172.16.0.0/12"), ("10.20.0.0/16",), False, ("10.20.0.0/16",)),
        (("10.20.1.0/24",), ("10.20.0.0/16",), False, ("10.20.1.0/24",)),
        (("10.0.0.0/8",), ("192.168.0.0/16", "fd00::/8"), False, ()),
        (("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"), (), False, ()),
        ((str(RESOLVER), str(NAME_RANGE)), ("10.0.0.0/8",), True, (f"{RESOLVER}/32", str(NAME_RANGE))),
        ((str(RESOLVER), str(NAME_RANGE)), ("10.0.0.0/8",), False, ()),
    ],
)
def test_routes_are_what_is_told_and_included(
    ranges: tuple[str, ...], included: tuple[str, ...], names: bool, routes: tuple[str, ...]
) -> None:
    networks: Any = tuple(ip_network(text) for text in included)
    found, around = routes_of(told(*ranges), networks, names=names, gateway=GATEWAY)
    assert [str(each) for each in found] == list(routes)
    assert around == ()


def test_the_way_to_the_gateway_is_not_into_the_tunnel() -> None:
    found, around = routes_of(told("192.0.0.0/8", "10.0.0.0/8"), (), names=False, gateway=GATEWAY)
    assert [str(each) for each in found] == ["10.0.0.0/8"]
    assert [str(each) for each in around] == ["192.0.0.0/8"]


def test_ranges_of_one_protocol_get_no_route() -> None:
    one = IpRange(ip_address("10.0.0.0"), ip_address("10.0.0.255"), 6)
    assert routes_of([one], (), names=False, gateway=()) == ((), ())


def test_both_ends_know_the_resolver() -> None:
    assert RESOLVER == ROUTER
    assert list(summarize_address_range(RESOLVER, RESOLVER)) == [ip_network(RESOLVER)]
