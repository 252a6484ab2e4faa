"""Names, IP routes, virtual networks and hostname routes: what the SDK's scenarios leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def test_the_longest_prefix_serves_an_address(mesh: Mesh) -> None:
    path = f"{mesh.account}/teamnet/routes"
    tunnel = (await mesh.tunnel())["id"]
    for network in ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "fd00::/8", "fd00:1::/32"):
        await mesh.call("POST", path, json={"network": network, "tunnel_id": tunnel})

    async def taken(address: str) -> str | None:
        found = await mesh.call("GET", f"{path}/ip/{address}")
        return found.get("network") if found else None

    assert await taken("10.1.2.3") == "10.1.2.3/32"
    assert await taken("10.1.2.4") == "10.1.0.0/16"
    assert await taken("10.2.0.1") == "10.0.0.0/8"
    assert await taken("192.0.2.1") == "0.0.0.0/0"
    assert await taken("fd00:1::7") == "fd00:1::/32"
    assert await taken("2001:db8::1") is None
    await mesh.refused(400, "GET", f"{path}/ip/nonsense")
    for network in ("10.0.0.0/33", "", "a/8", "10.0.0.0/8/8"):
        await mesh.refused(400, "POST", path, json={"network": network, "tunnel_id": tunnel})


async def test_virtual_networks_keep_routes_apart(mesh: Mesh) -> None:
    routes, networks = f"{mesh.account}/teamnet/routes", f"{mesh.account}/teamnet/virtual_networks"
    tunnel = (await mesh.tunnel())["id"]
    other = (await mesh.call("POST", networks, json={"name": "other"}))["id"]
    await mesh.call("POST", routes, json={"network": "10.0.0.0/8", "tunnel_id": tunnel})
    twin = {"network": "10.0.0.0/8", "tunnel_id": tunnel}
    assert (await mesh.refused(409, "POST", routes, json=twin))["code"] == 1014
    apart = await mesh.call("POST", routes, json={**twin, "virtual_network_id": other})
    found = await mesh.call("GET", f"{routes}/ip/10.1.1.1", params={"virtual_network_id": other})
    assert found["id"] == apart["id"]
    await mesh.call("DELETE", f"{routes}/{apart['id']}")
    assert await mesh.call("GET", f"{routes}/ip/10.1.1.1", params={"virtual_network_id": other}) == {}
    fallback = {"virtual_network_id": other, "default_virtual_network_fallback": "true"}
    assert (await mesh.call("GET", f"{routes}/ip/10.1.1.1", params=fallback))["network"] == "10.0.0.0/8"


async def test_one_virtual_network_is_always_the_default(mesh: Mesh) -> None:
    path = f"{mesh.account}/teamnet/virtual_networks"
    (first,) = await mesh.call("GET", path)
    await mesh.refused(409, "DELETE", f"{path}/{first['id']}")
    await mesh.refused(409, "PATCH", f"{path}/{first['id']}", json={"is_default_network": False})
    second = await mesh.call("POST", path, json={"name": "second", "is_default": True})
    marks = {row["name"]: row["is_default_network"] for row in await mesh.call("GET", path)}
    assert marks == {"default": False, "second": True}
    await mesh.call("DELETE", f"{path}/{first['id']}")
    assert [row["id"] for row in await mesh.call("GET", path, params={"is_deleted": "false"})] == [second["id"]]
    assert (await mesh.refused(409, "POST", path, json={"name": "second"}))["code"] == 1016


async def test_force_takes_the_routes_of_a_virtual_network_along(mesh: Mesh) -> None:
    path = f"{mesh.account}/teamnet/virtual_networks"
    tunnel = (await mesh.tunnel())["id"]
    made = await mesh.call("POST", path, json={"name": "v"})
    body = {"network": "10.0.0.0/8", "tunnel_id": tunnel, "virtual_network_id": made["id"]}
    route = await mesh.call("POST", f"{mesh.account}/teamnet/routes", json=body)
    await mesh.refused(409, "DELETE", f"{path}/{made['id']}")
    await mesh.call("DELETE", f"{path}/{made['id']}", params={"force": "true"})
    await mesh.refused(404, "GET", f"{mesh.account}/teamnet/routes/{route['id']}")


async def test_a_tunnel_takes_its_routes_along_but_not_its_names(mesh: Mesh) -> None:
    tunnel = (await mesh.tunnel())["id"]
    path = f"{mesh.account}/cfd_tunnel/{tunnel}"
    routes, names = f"{mesh.account}/teamnet/routes", f"{mesh.account}/zerotrust/routes/hostname"
    await mesh.call("POST", routes, json={"network": "10.0.0.0/8", "tunnel_id": tunnel})
    await mesh.call("POST", names, json={"hostname": "db.corp", "tunnel_id": tunnel})
    await mesh.call("PUT", f"{mesh.zone}/tunnels/{tunnel}/routes", json={"type": "dns", "user_hostname": "a"})
    assert (await mesh.refused(409, "DELETE", path))["code"] == 1022
    await mesh.call("DELETE", path, params={"cascade": "true"})
    for place in (routes, names):
        assert await mesh.call("GET", place, params={"is_deleted": "false"}) == []
        assert len(await mesh.call("GET", place, params={"is_deleted": "true"})) == 1
    assert [row["name"] for row in await mesh.call("GET", f"{mesh.zone}/dns_records")] == ["a.example.com"]


async def test_names_are_kept_in_one_spelling(mesh: Mesh) -> None:
    tunnel = (await mesh.tunnel())["id"]
    path = f"{mesh.zone}/tunnels/{tunnel}/routes"

    async def routed(name: str) -> tuple[str, str]:
        answer = await mesh.call("PUT", path, json={"type": "dns", "user_hostname": name})
        return answer["cname"], answer["name"]

    assert await routed("App.Example.COM.") == ("new", "app.example.com")
    assert await routed("app") == ("unchanged", "app.example.com")
    assert await routed("r.example.org") == ("new", "r.example.org.example.com")
    assert await routed("*.dev") == ("new", "*.dev.example.com")
    assert await routed("bücher") == ("new", "xn--bcher-kva.example.com")
    assert await routed("example.com") == ("new", "example.com")
    for name in ("", "a..b", "-a", "a b", "*", "a.*.b", "x" * 64, "\u202e.example.com", "a\x00.example.com"):
        await mesh.refused(400, "PUT", path, json={"type": "dns", "user_hostname": name})


async def test_a_record_leads_to_a_tunnel_or_is_refused(mesh: Mesh) -> None:
    path = f"{mesh.zone}/dns_records"
    good = {"name": "a", "type": "CNAME", "content": f"{'0' * 32}.cfargotunnel.com", "ttl": 1}
    for change in (
        {"type": "A", "content": "192.0.2.1"},
        {"content": "example.org"},
        {"content": "x.cfargotunnel.com"},
        {"ttl": 0},
        {"ttl": "1"},
        {"proxied": "yes"},
        {"priority": 1},
    ):
        await mesh.refused(400, "POST", path, json={**good, **change})
    made = await mesh.call("POST", path, json=good)
    assert made["content"] == "00000000-0000-0000-0000-000000000000.cfargotunnel.com"
    assert (await mesh.refused(409, "POST", path, json=good))["code"] == 81053
