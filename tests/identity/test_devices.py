"""Mesh addresses and keys of devices."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Network

import pytest

from pyconnector.identity.devices.addresses import next_address
from pyconnector.identity.devices.wireguard import WireGuardSetup, key_bytes, make_private_key, public_key_of
from pyconnector.identity.network_rules import NetworkFlow, RuleError, decide, parse_rule
from pyconnector.identity.service_tokens import ServiceToken

RANGE = IPv4Network("10.9.0.0/24")
FIRST = int(RANGE.network_address) + 2
TOKEN = ServiceToken(id="1", client_id="a.access", name="a", secrets=())


def given(last: int, *taken: int) -> int | None:
    found = next_address(RANGE, FIRST + last, [FIRST + each for each in taken])
    return None if found is None else int(found) - FIRST


def test_addresses_go_on_behind_the_last_one_and_begin_anew() -> None:
    assert next_address(RANGE, 0, []) == IPv4Address("10.9.0.2")
    assert given(3, 0, 1) == 4
    assert given(3, 0, 4, 5, 7) == 6
    assert given(252, 0, 1, 3) == 2
    assert given(100, *range(101, 253)) == 0
    assert given(100, *range(253)) is None
    assert given(100, *range(252)) == 252  # the broadcast address is nobody's


def test_keys_fit_and_others_are_refused() -> None:
    # As `wg genkey` and `wg pubkey` wrote them.
    assert (
        public_key_of("cD6rZ6BaBVRbDco848i4pnGa89WdrJQBjP3I0/2PP2s=") == "5AN8OsZPM3tor8Itbac2TDprfSJIRL8NVLGx/WBEQiw="
    )
    made = key_bytes(make_private_key(bytes(range(255, 223, -1))))
    assert (made[0] & 7, made[31] & 192) == (0, 64)
    text = make_private_key(bytes(range(32)))
    twin = text[:-2] + chr(ord(text[-2]) + 1) + "="  # the same bytes, so that one key could be two devices'
    assert base64.b64decode(twin) == base64.b64decode(text)
    for bad in ("", "x", twin, text[:-1], text + "=", "é" * 44, "A" * 43 + "="):
        with pytest.raises(ValueError, match="base64"):
            key_bytes(bad)


def test_a_device_is_set_up_by_one_file() -> None:
    setup = WireGuardSetup(
        private_key="secret", address=IPv4Address("100.96.0.7"), server_key="public", endpoint="edge.example:51820",
        dns=IPv4Address("100.96.0.1"), networks=(IPv4Network("100.96.0.1/32"), IPv4Network("10.0.0.0/8")),
    )  # fmt: skip
    lines = setup.text().splitlines()
    assert "Address = 100.96.0.7/32" in lines
    assert "AllowedIPs = 100.96.0.1/32, 10.0.0.0/8" in lines
    assert "secret" not in repr(setup)


def test_a_rule_may_name_the_mesh_address_of_its_source() -> None:
    rule = parse_rule("1", {"action": "allow", "sources": ["100.96.0.7/32"]})

    def allowed(source: str | None) -> bool:
        flow = NetworkFlow(
            token=TOKEN, address=IPv4Address("10.0.0.1"), port=1, protocol="tcp",
            source=None if source is None else IPv4Address(source),
        )  # fmt: skip
        return decide([rule], flow).allowed

    assert allowed("100.96.0.7")
    assert not allowed("100.96.0.8")
    assert not allowed(None)
    with pytest.raises(RuleError, match="no network"):
        parse_rule("1", {"action": "allow", "sources": ["phone"]})
