"""Network rules: the first that matches decides, none is a no, and sensitive addresses must be named."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.identity.network_rules import SENSITIVE, NetworkFlow, RuleError, decide, parse_rule
from pyconnector.identity.service_tokens import ServiceToken

TOKEN = ServiceToken(
    id="t", client_id="a.access", name="agent", secrets=(), role="agent", labels=frozenset({"env:prod", "team:x"})
)


def flow(host: str = "10.0.0.5", port: int = 5432, **more: Any) -> NetworkFlow:
    values: dict[str, Any] = {"protocol": "tcp", "virtual_network": "default", "route": ip_network("10.0.0.0/8")}
    return NetworkFlow(**{"token": TOKEN, "address": ip_address(host), "port": port, **values, **more})


def allowed(value: dict[str, Any], given: NetworkFlow, **more: Any) -> bool:
    return decide([parse_rule("1", {"action": "allow", **value})], given, **more).allowed


def test_nothing_is_allowed_without_a_rule() -> None:
    decision = decide([], flow())
    assert (decision.allowed, decision.reason, decision.rule) == (False, "no rule allows it", None)


@pytest.mark.parametrize(
    ("matching", "other"),
    [
        ({"tokens": ["a.access"]}, {"tokens": ["b.access"]}),
        ({"roles": ["agent"]}, {"roles": ["admin"]}),
        ({"labels": ["env:test", "env:prod"]}, {"labels": ["env:test"]}),
        ({"networks": ["10.0.0.0/24"]}, {"networks": ["10.0.1.0/24", "fd00::/8"]}),
        ({"ports": ["5000-6000"]}, {"ports": [5431, "6000-7000"]}),
        ({"protocols": ["tcp", "udp"]}, {"protocols": ["udp"]}),
        ({"virtual_networks": ["default"]}, {"virtual_networks": ["lab"]}),
    ],
)
def test_every_kind_of_value_must_match(matching: dict[str, Any], other: dict[str, Any]) -> None:
    assert allowed(matching, flow())
    assert not allowed(other, flow())
    assert not allowed({**matching, "ports": [1]}, flow())


def test_the_first_rule_that_matches_decides() -> None:
    block = parse_rule("b", {"action": "block", "ports": [5432]})
    allow = parse_rule("a", {"action": "allow"})
    assert decide([block, allow], flow()).rule is block
    assert not decide([block, allow], flow()).allowed
    assert decide([allow, block], flow()).allowed
    assert decide([block, allow], flow(port=80)).rule is allow


def test_a_destination_matches_by_name_or_by_network() -> None:
    value = {"names": ["db.internal", "*.apps.internal"], "networks": ["192.168.0.0/16"]}
    assert allowed(value, flow(name="db.internal", route=None))
    assert allowed(value, flow(name="a.b.apps.internal", route=None))
    assert allowed(value, flow("192.168.1.1"))
    for name in ("", "apps.internal", "xdb.internal", "xapps.internal", "db.internal.evil"):
        assert not allowed(value, flow(name=name, route=None))


@pytest.mark.parametrize("network", SENSITIVE, ids=str)
def test_a_broad_rule_or_route_never_means_a_sensitive_address(network: Any) -> None:
    host = str(network[-1] if network.prefixlen < network.max_prefixlen else network[0])
    broad = {"networks": ["0.0.0.0/0", "::/0"]}
    named = {"networks": [str(network)]}
    everywhere = ip_network("0.0.0.0/0" if network.version == 4 else "::/0")
    assert not allowed({}, flow(host, route=network))
    assert not allowed(broad, flow(host, route=network))
    assert not allowed(named, flow(host, route=everywhere))
    assert not allowed(named, flow(host, route=None))
    assert allowed(named, flow(host, route=network))


def test_the_edge_s_own_addresses_need_to_be_named_too() -> None:
    own = (ip_address("10.0.0.5"),)
    assert not allowed({"networks": ["10.0.0.0/8"]}, flow(), own=own)
    assert not allowed({"networks": ["10.0.0.5/32"]}, flow(), own=own)
    assert allowed({"networks": ["10.0.0.5/32"]}, flow(route=ip_network("10.0.0.5/32")), own=own)


@pytest.mark.parametrize(
    "host",
    [
        "::ffff:169.254.169.254", "::ffff:127.0.0.1", "::169.254.169.254", "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1", "2002:7f00:1::", "2001::5601:5601", "fe80::1%eth0",
        "64:ff9b::10.0.0.5", "fd00::5%1",
    ],
)  # fmt: skip
def test_an_address_within_an_address_is_as_sensitive(host: str) -> None:
    own = (ip_address("10.0.0.5"), ip_address("fd00::5"))
    address = ip_address(host)
    assert not allowed({"networks": ["::/0"]}, flow(host, route=ip_network("::/0")), own=own)
    assert not allowed({}, flow(host, name="db.internal", route=None), own=own)
    itself = IPv6Network(int(address))
    assert allowed({"networks": [str(itself)]}, flow(host, route=itself), own=own)
    assert allowed({}, flow("64:ff9b::10.0.0.6", route=ip_network("64:ff9b::/96")), own=own)


def test_a_name_that_resolves_to_a_sensitive_address_gets_nowhere() -> None:
    rebound = flow("169.254.169.254", name="db.internal", route=None)
    assert not allowed({"names": ["db.internal"]}, rebound)
    assert not allowed({"names": ["db.internal"], "networks": ["169.254.169.254/32"]}, rebound)


def test_a_block_of_a_sensitive_address_is_told_by_its_rule() -> None:
    rule = parse_rule("b", {"action": "block"})
    assert decide([rule], flow("127.0.0.1")).rule is rule


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({}, "allow or block"),
        ({"action": "l4_override"}, "allow or block"),
        ({"action": "allow", "port": [1]}, "'port' is nothing"),
        ({"action": "allow", "ports": []}, "ports of a network rule is empty"),
        ({"action": "allow", "ports": [True]}, "list of ports"),
        ({"action": "allow", "ports": ["1-"]}, "no port"),
        ({"action": "allow", "ports": ["9-1"]}, "no port"),
        ({"action": "allow", "ports": [65_536]}, "no port"),
        ({"action": "allow", "tokens": "a.access"}, "list of texts"),
        ({"action": "allow", "networks": ["10.0.0.1/8"]}, "no network"),
        ({"action": "allow", "names": ["*"]}, "whole, or begins with"),
        ({"action": "allow", "names": ["a*.internal"]}, "whole, or begins with"),
        ({"action": "allow", "protocols": ["sctp"]}, "tcp, udp and icmp"),
        ({"action": "allow", "name": 1}, "is text"),
        ({"action": "allow", "tokens": ["x"] * 1001}, "at most 1000"),
    ],
)
def test_what_makes_no_sense_is_refused(value: dict[str, Any], why: str) -> None:
    with pytest.raises(RuleError, match=why.replace("*", r"\*")):
        parse_rule("1", value)


@given(st.ip_addresses())
def test_the_default_is_no_for_every_address(address: Any) -> None:
    assert not decide([], flow(str(address), route=ip_network(address))).allowed
