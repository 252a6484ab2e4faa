"""Devices of the control plane: their addresses, who owns them, and what edges are told."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.plane import ControlPlane
from pyconnector.control.settings import ControlPlaneSettings, SettingsError
from pyconnector.control.store.devices import devices
from pyconnector.edge.access.devices import DeviceEntry
from pyconnector.edge.access.entries import parse_access
from pyconnector.identity.devices.wireguard import public_key_of
from tests.control.support import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.control.support import Mesh


def key(number: int = 1) -> str:
    return base64.b64encode(bytes([number] * 32)).decode("ascii")


async def token(mesh: Mesh, name: str = "agent-01") -> Any:
    return await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": name})


async def listed(mesh: Mesh) -> Any:
    return await mesh.call("GET", f"{mesh.account}/devices/registrations")


async def test_each_token_and_device_has_an_address_of_its_own(mesh: Mesh) -> None:
    path = f"{mesh.account}/devices/registrations"
    owner = await token(mesh)
    phone = await mesh.call("POST", path, json={"name": "phone", "token": "agent-01", "key": key()})
    own, second = await listed(mesh)
    assert (own["kind"], own["token_id"], own["address"]) == ("token", owner["id"], "100.96.0.2")
    assert (second["virtual_ipv4"], second["wireguard"]["port"]) == ("100.96.0.3", 51820)
    assert second["wireguard"]["dns_address"] == "100.96.0.1"
    async with mesh.edge() as edge:
        told = (await snapshot(edge))["objects"]["device"]
    entry = parse_access("device", phone["id"], told[phone["id"]])
    assert isinstance(entry, DeviceEntry)
    assert entry.wireguard is not None
    assert (str(entry.address), entry.token_id) == ("100.96.0.3", owner["id"])
    assert public_key_of(entry.wireguard.server_key) == phone["wireguard"]["server_key"]
    assert entry.wireguard.server_key not in repr(entry)
    text = str(await mesh.call("GET", f"{path}/{phone['id']}"))
    text += str(
        await mesh.call("GET", f"{mesh.account}/logs/audit", params={"since": "2020-01-01", "before": "2100-01-01"})
    )
    assert entry.wireguard.server_key not in text  # told to edges alone


async def test_an_address_that_is_given_back_rests(mesh: Mesh) -> None:
    path = f"{mesh.account}/devices/registrations"
    await token(mesh)
    first = await mesh.call("POST", path, json={"name": "phone", "token": "agent-01", "key": key()})
    await mesh.call("DELETE", f"{path}/{first['id']}")
    await mesh.refused(404, "GET", f"{path}/{first['id']}")
    again = await mesh.call("POST", path, json={"name": "phone", "token": "agent-01", "key": key()})
    assert (first["address"], again["address"]) == ("100.96.0.3", "100.96.0.4")
    assert again["wireguard"]["port"] == first["wireguard"]["port"]


async def test_devices_of_a_token_end_with_it(mesh: Mesh) -> None:
    owner = await token(mesh)
    path = f"{mesh.account}/devices/registrations"
    await mesh.call("POST", path, json={"name": "phone", "token": owner["id"], "key": key()})
    own = (await listed(mesh))[0]
    assert "record of a service token" in (await mesh.refused(400, "DELETE", f"{path}/{own['id']}"))["message"]
    await mesh.call("PUT", f"{mesh.account}/access/service_tokens/{owner['id']}", json={"name": "renamed"})
    assert (await listed(mesh))[0]["name"] == "renamed"
    await mesh.call("DELETE", f"{mesh.account}/access/service_tokens/{owner['id']}")
    assert await listed(mesh) == []


async def test_a_revoked_device_is_told_to_edges(mesh: Mesh) -> None:
    await token(mesh)
    path = f"{mesh.account}/devices/registrations"
    own = (await listed(mesh))[0]
    for action, enabled in (("revoke", False), ("unrevoke", True)):
        await mesh.call("POST", f"{path}/{action}", params={"id": own["id"]})
        assert ((await listed(mesh))[0]["revoked_at"] is None) is enabled
        async with mesh.edge() as edge:
            assert (await snapshot(edge))["objects"]["device"][own["id"]]["enabled"] is enabled


async def test_devices_that_make_no_sense_are_refused(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{mesh.account}/devices/registrations"
    await token(mesh)
    await token(mesh, "twice")
    await token(mesh, "twice")
    good = {"name": "phone", "token": "agent-01", "key": key()}
    for changes in ({"key": "x"}, {"key": base64.b64encode(bytes(32)).decode()}, {"token": "twice"}, {"name": ""}):
        await mesh.refused(400, "POST", path, json=good | changes)
    await mesh.refused(404, "POST", path, json=good | {"token": "nobody"})
    await mesh.call("POST", path, json=good)
    assert "Another device" in (await mesh.refused(400, "POST", path, json=good))["message"]
    monkeypatch.setattr(devices, "MAX_WIREGUARD", 1)
    assert "as many as there may be" in (await mesh.refused(409, "POST", path, json=good | {"key": key(2)}))["message"]


async def test_tokens_of_before_get_addresses_of_the_range_given(tmp_path: Path) -> None:
    settings = ControlPlaneSettings(data_directory=tmp_path, mesh_addresses="10.9.0.0/24", name_addresses="10.8.0.0/24")
    async with ControlPlane(settings) as plane:
        account_id = plane.installation.account_id

        async def operation(work: Any) -> None:
            from pyconnector.control.store.access import service_tokens

            fields = service_tokens.TokenFields(name="old")
            made = (await service_tokens.create(work, fields)).row
            await devices.forget_token(work, made.id)

        from pyconnector.control.store.work import Actor

        await plane.database.write(Actor(account_id=account_id), operation)
    async with ControlPlane(ControlPlaneSettings(data_directory=tmp_path)) as plane, plane.database.read() as session:
        from pyconnector.control.store.pages import PageRequest

        (found,) = (await devices.listed(session, account_id, PageRequest())).rows
    assert IPv4Address(found.address) in IPv4Network("10.9.0.0/24")


@pytest.mark.parametrize("given", ["8.8.8.0/24", "10.0.0.0/25", "fd00::/64", "x", "172.64.128.0/22"])
def test_ranges_that_make_no_sense_are_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"mesh-addresses|overlap"):
        ControlPlaneSettings(data_directory=tmp_path, mesh_addresses=given)
