"""What an edge knows from a control plane: snapshots, changes, routes, and the file that keeps them."""

from __future__ import annotations

import datetime
import ipaddress
import json
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pyconnector.edge.connectors.tunnels import NOT_FOUND, NOT_KNOWN_YET, WRONG_SECRET, Tunnel, Tunnels
from pyconnector.edge.directory import Directory, cache
from pyconnector.edge.directory.routes import PrivateRoutes
from pyconnector.edge.directory.values import (
    KINDS,
    ChangeEntry,
    DirectoryError,
    IpRouteEntry,
    VirtualNetworkEntry,
    parse_changes,
    parse_entry,
    parse_snapshot,
)
from pyconnector.protocol.rpc.registration import Registration

A, B = UUID(int=1), UUID(int=2)
SECRET = b"a secret of the tests, 32 bytes."


def tunnel(version: int = 0, **more: Any) -> dict[str, Any]:
    import hashlib

    return {
        "account": "account", "name": "t", "secret_sha256": hashlib.sha256(SECRET).hexdigest(),
        "configuration": {"ingress": []} if version else None, "configuration_version": version, **more,
    }  # fmt: skip


def objects(**given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {kind: given.get(kind, {}) for kind in KINDS}


@dataclass
class Stage:
    tunnels: Tunnels = field(default_factory=Tunnels)
    pushed: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = Directory(self.tunnels, lambda tunnel: self.pushed.append(tunnel.tunnel_id), lambda: None)

    def change(self, kind: str, key: object, value: dict[str, Any] | None) -> None:
        number = self.directory.number + 1
        self.directory.take_changes([ChangeEntry(number=number, kind=kind, id=str(key), value=value)])

    def host(self, name: str) -> UUID | None:
        found = self.tunnels.for_host(name)
        return None if found is None else found.tunnel_id


def registering(**changes: Any) -> Registration:
    values: dict[str, Any] = {"account_tag": "account", "tunnel_id": A, "tunnel_secret": SECRET}
    return Registration(connection_index=0, client_id=UUID(int=9), **{**values, **changes})


def test_a_tunnel_is_known_by_the_digest_of_its_secret() -> None:
    stage = Stage()
    stage.directory.take_snapshot(1, objects(tunnel={str(A): tunnel()}))
    assert isinstance(stage.tunnels.authenticate(registering()), Tunnel)
    assert stage.tunnels.authenticate(registering(tunnel_secret=b"another")) is WRONG_SECRET
    assert stage.tunnels.authenticate(registering(account_tag="other")) is NOT_FOUND
    assert stage.tunnels.authenticate(registering(tunnel_id=B)) is NOT_FOUND
    stage.tunnels.complete = False
    assert stage.tunnels.authenticate(registering(tunnel_id=B)) is NOT_KNOWN_YET
    assert NOT_KNOWN_YET.should_retry


def test_only_routed_names_lead_to_a_tunnel() -> None:
    stage = Stage()
    names = {"a.test": {"tunnel_id": str(A)}, "*.b.test": {"tunnel_id": str(B)}, "gone.test": {"tunnel_id": str(B)}}
    stage.directory.take_snapshot(1, objects(tunnel={str(A): tunnel()}, name=names))
    assert stage.host("a.test") == A
    assert stage.host("other.test") is None
    assert stage.host("x.b.test") == B
    lost = stage.tunnels.for_host("gone.test")
    assert lost is not None
    assert lost.pick() is None  # its tunnel is nowhere: nobody serves the name, and no other tunnel does
    known = stage.tunnels.get(A)
    assert known is not None
    assert stage.tunnels.learn(known, b'{"ingress": [{"hostname": "stolen.test"}]}') == ()
    assert stage.host("stolen.test") is None
    stage.change("name", "a.test", {"tunnel_id": str(B)})
    assert stage.host("a.test") == B
    stage.change("name", "a.test", None)
    assert stage.host("a.test") is None


def test_a_newer_configuration_is_pushed_once() -> None:
    stage = Stage()
    stage.directory.take_snapshot(1, objects(tunnel={str(A): tunnel()}))
    assert stage.pushed == []
    stage.change("tunnel", A, tunnel(1))
    stage.change("tunnel", A, tunnel(1, name="renamed"))
    assert stage.pushed == [A]
    stage.directory.take_snapshot(9, objects(tunnel={str(A): tunnel(2)}))
    assert stage.pushed == [A, A]
    known = stage.tunnels.get(A)
    assert known is not None
    assert (known.configuration, known.configuration_version) == (b'{"ingress": []}', 2)


def test_a_snapshot_removes_what_it_lacks() -> None:
    stage = Stage()
    everything = objects(
        tunnel={str(A): tunnel(), str(B): tunnel()},
        name={"a.test": {"tunnel_id": str(A)}},
        virtual_network={"v": {"name": "default", "is_default": True}},
        ip_route={"r": {"network": "10.0.0.0/8", "tunnel_id": str(A), "virtual_network_id": "v"}},
        hostname_route={"h": {"hostname": "*.corp", "tunnel_id": str(B)}},
    )
    stage.directory.take_snapshot(1, everything)
    before = stage.tunnels.get(A)
    routes = stage.directory.routes
    assert routes.for_address(ipaddress.ip_address("10.1.2.3")) == A
    assert routes.for_hostname("db.corp") == B
    assert routes.virtual_network("default") == "v"
    stage.directory.take_snapshot(2, objects(tunnel={str(A): tunnel()}))
    assert stage.tunnels.get(A) is before  # what is the same stays, with its connections
    assert stage.tunnels.get(B) is None
    assert stage.host("a.test") is None
    assert routes.for_address(ipaddress.ip_address("10.1.2.3")) is None
    assert routes.for_hostname("db.corp") is None
    assert len(routes) == 0


def test_a_damaged_snapshot_changes_nothing() -> None:
    stage = Stage()
    stage.directory.take_snapshot(1, objects(tunnel={str(A): tunnel()}))
    for bad in (
        objects(tunnel={"not an id": tunnel()}),
        objects(tunnel={str(B): tunnel(secret_sha256="00")}),
        objects(tunnel={str(B): {**tunnel(), "configuration_version": "1"}}),
        objects(name={"a.test": {}}),
        objects(ip_route={"r": {"network": "10.0.0.1/8", "tunnel_id": str(A), "virtual_network_id": "v"}}),
        objects(virtual_network={"v": None}),
    ):
        with pytest.raises(DirectoryError):
            stage.directory.take_snapshot(2, bad)
        assert stage.directory.number == 1
        assert len(stage.tunnels) == 1


@pytest.mark.parametrize(
    "body", [None, [], {}, {"number": "1", "objects": {}}, {"number": 1}, {"number": 1, "objects": {"tunnel": []}}]
)
def test_what_is_no_snapshot_is_refused(body: object) -> None:
    with pytest.raises(DirectoryError):
        parse_snapshot(body)
    with pytest.raises(DirectoryError):
        parse_changes({"changes": [body]})


def test_kinds_of_a_later_version_are_passed_over() -> None:
    stage = Stage()
    stage.directory.take_snapshot(1, objects())
    stage.change("application", "x", {"anything": 1})
    stage.change("cleanup", "not an id", {"client_id": 7})
    assert stage.directory.number == 3
    with pytest.raises(DirectoryError):
        parse_entry("application", "x", {})


def test_the_longest_prefix_decides_as_a_plain_search_would() -> None:
    rng = random.Random(7)
    routes = PrivateRoutes()
    plain: dict[str, IpRouteEntry] = {}
    routes.put_network(VirtualNetworkEntry(id="v", name="default", is_default=True))
    routes.put_network(VirtualNetworkEntry(id="w", name="other", is_default=False))

    def network() -> Any:
        if rng.random() < 0.5:
            return ipaddress.ip_network((rng.getrandbits(6) << 26, rng.choice((0, 1, 3, 6, 8))), strict=False)
        return ipaddress.ip_network((rng.getrandbits(6) << 122, rng.choice((0, 2, 5, 7))), strict=False)

    for step in range(600):
        key = str(rng.randrange(40))
        if rng.random() < 0.3:
            routes.drop_route(key)
            plain.pop(key, None)
        else:
            entry = IpRouteEntry(
                id=key, network=network(), tunnel_id=UUID(int=step), virtual_network_id=rng.choice("vw")
            )
            if any(
                other.network == entry.network and other.virtual_network_id == entry.virtual_network_id
                for name, other in plain.items()
                if name != key
            ):
                continue  # the control plane has one route for a network
            routes.put_route(entry)
            plain[key] = entry
        address = network()[0]
        for virtual in "vw":
            found = [e for e in plain.values() if e.virtual_network_id == virtual and address in e.network]
            best = max(found, key=lambda e: e.network.prefixlen).tunnel_id if found else None
            assert routes.for_address(address, virtual) == best
        assert routes.for_address(address) == routes.for_address(address, "v")


def test_a_cached_snapshot_comes_back_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "snapshot.json"
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    kept = objects(tunnel={str(A): tunnel(3)})
    assert cache.load(path) is None
    cache.save(path, 7, kept, moment)
    cache.save(path, 8, kept, moment)
    assert cache.load(path) == (8, kept, moment)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 2}', json.dumps({"format": 1, "saved_at": "x", "number": 1, "objects": {}})],
)
def test_a_damaged_cache_is_told_and_not_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(text)
    with pytest.raises(DirectoryError):
        cache.load(path)


def test_a_cache_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "snapshot.json"
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    cache.save(path, 1, objects(), moment)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space"):
        cache.save(path, 2, objects(), moment)
    monkeypatch.undo()
    loaded = cache.load(path)
    assert loaded is not None
    assert loaded[0] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["snapshot.json"]


def test_routes_that_change_places_in_one_snapshot_both_count() -> None:
    def route(network: str, tunnel_id: UUID) -> dict[str, Any]:
        return {"network": network, "tunnel_id": str(tunnel_id), "virtual_network_id": "v"}

    stage = Stage()
    vnet = {"v": {"name": "default", "is_default": True}}
    before = {"r": route("10.0.0.0/8", A), "s": route("11.0.0.0/8", B)}
    after = {"r": route("11.0.0.0/8", A), "s": route("10.0.0.0/8", B)}
    stage.directory.take_snapshot(1, objects(virtual_network=vnet, ip_route=before))
    stage.directory.take_snapshot(2, objects(virtual_network=vnet, ip_route=after))
    routes = stage.directory.routes
    assert routes.for_address(ipaddress.ip_address("11.1.1.1")) == A
    assert routes.for_address(ipaddress.ip_address("10.1.1.1")) == B
