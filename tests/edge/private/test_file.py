"""The file of a private network: what it says, and one sentence with its place for what it should not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge.cli_settings import EdgeFlags, settings_from_flags
from pyconnector.edge.private.gateway.own_addresses import own_addresses
from pyconnector.edge.settings import EdgeSettings, SettingsError

TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
TOKEN = {"client_id": "0" * 32 + ".access", "name": "agent", "secret_sha256": "ab" * 32}
GATEWAY: dict[str, Any] = {"http": "127.0.0.1:0", "tokens": [TOKEN], "rules": [{"action": "allow"}]}


def read(tmp_path: Path, value: object, **flags: Any) -> EdgeSettings:
    path = tmp_path / "private.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return settings_from_flags(EdgeFlags(**{"any_credentials": True, "private_network": str(path), **flags}))


def test_all_of_it_is_read(tmp_path: Path) -> None:
    value = {
        "routes": [{"network": "10.0.0.0/8", "tunnel": TUNNEL, "virtual_network": "lab"}],
        "names": [{"name": "*.Internal", "tunnel": TUNNEL}],
        "gateway": {
            **GATEWAY,
            "socks": "[::1]:1080",
            "audiences": ["cd" * 32],
            "tokens": [{**TOKEN, "role": "agent", "labels": ["a", "b"], "expires": "2027-01-31T00:00:00Z"}],
        },
    }
    settings = read(tmp_path, value)
    [route] = settings.private_routes
    assert (str(route.network), str(route.tunnel_id), route.virtual_network) == ("10.0.0.0/8", TUNNEL, "lab")
    assert settings.private_hostnames[0].hostname == "*.internal"
    gateway = settings.gateway
    assert gateway is not None
    assert (gateway.http, gateway.socks) == (("127.0.0.1", 0), ("::1", 1080))
    assert gateway.audiences == ("cd" * 32,)
    [token] = gateway.tokens
    assert (token.role, token.labels, token.expires) == ("agent", frozenset(("a", "b")), 1801353600.0)
    assert len(gateway.rules) == 1
    assert "ab" * 4 not in repr(settings)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "is no JSON"),
        ([], "the file: an object is needed"),
        ({"route": []}, "the file: 'route' is unknown; known are gateway, names, routes"),
        ({"routes": {}}, "routes: a list is needed"),
        ({"routes": [{"network": "10.0.0.1/8", "tunnel": TUNNEL}]}, "routes[0]: '10.0.0.1/8' is no network"),
        ({"routes": [{"network": "10.0.0.0/8", "tunnel": "x"}]}, "routes[0]: tunnel is no tunnel id"),
        ({"names": [{"name": "a b", "tunnel": TUNNEL}]}, "'a b' is no private name"),
        ({"gateway": {}}, "needs an address for HTTP CONNECT, for SOCKS5 or for WireGuard"),
        ({"gateway": {**GATEWAY, "http": "here"}}, "gateway.http 'here' is not HOST:PORT"),
        ({"gateway": {**GATEWAY, "http": "0.0.0.0:8443"}}, "a gateway at 0.0.0.0:8443 needs TLS"),
        ({"gateway": {**GATEWAY, "rules": [{"action": "allow", "port": 1}]}}, "gateway.rules[0]: 'port' is nothing"),
        ({"gateway": {**GATEWAY, "rules": {}}}, "gateway.rules: a list of at most"),
        ({"gateway": {**GATEWAY, "tokens": [TOKEN, TOKEN]}}, "is given twice"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "client_id": "x"}]}}, "gateway.tokens[0]: 'x' is no client id"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "secret_sha256": "ab"}]}}, "secret_sha256 is not the SHA-256"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "secret": "x"}]}}, "'secret' is unknown"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "expires": "soon"}]}}, "expires 'soon' is no moment"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "enabled": "no"}]}}, "enabled is true or false"),
        ({"gateway": {**GATEWAY, "tokens": [{**TOKEN, "labels": [""]}]}}, "A label has 1 to 64"),
        ({"gateway": {**GATEWAY, "tls": "yes"}}, "gateway.tls: files are needed"),
        ({"gateway": {**GATEWAY, "audiences": ["x"]}}, "gateway.audiences[0]: an application's audience is needed"),
        ({"gateway": {**GATEWAY, "records": "x"}}, "gateway.records: flows are recorded where everything is"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_with_its_place(tmp_path: Path, value: object, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, value)
    assert why in str(caught.value)


def test_routes_of_a_control_plane_are_not_given_beside_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a token of the edge")
    follows = {"any_credentials": False, "control": "https://control.example", "control_token_file": str(token)}
    with pytest.raises(SettingsError, match="knows its private routes from there"):
        read(tmp_path, {"routes": [{"network": "10.0.0.0/8", "tunnel": TUNNEL}]}, **follows)
    with pytest.raises(SettingsError, match="knows tokens and network rules from there"):
        read(tmp_path, {"gateway": GATEWAY}, **follows)
    assert read(tmp_path, {"gateway": {"http": GATEWAY["http"]}}, **follows).gateway is not None


def test_the_edge_s_own_addresses_are_those_that_it_binds() -> None:
    assert [str(each) for each in own_addresses([("127.0.0.1", 1), ("::1", 2), ("127.0.0.1", 3), ("name", 4)])] == [
        "127.0.0.1",
        "::1",
    ]
    assert all(not each.is_unspecified for each in own_addresses([("0.0.0.0", 1), ("::", 1)]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells all of them")
def test_an_edge_that_listens_everywhere_is_at_every_address_of_its_machine() -> None:
    own = {str(address) for address in own_addresses([("0.0.0.0", 1)])}
    shown = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=False).stdout
    told = {line.split()[3].partition("/")[0] for line in shown.splitlines()}
    assert "127.0.0.1" in own
    assert told <= own
