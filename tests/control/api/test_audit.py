"""The audit log: every change, with it or not at all, and never a secret."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.control.support import Mesh

ALWAYS = {"since": "2020-01-01", "before": "2100-01-01"}


async def test_every_change_is_recorded_with_who_made_it(mesh: Mesh) -> None:
    secret = base64.b64encode(b"a secret of 32 bytes for a tunnel").decode()
    tunnel = await mesh.tunnel("t", tunnel_secret=secret)
    path = f"{mesh.account}/cfd_tunnel/{tunnel['id']}"
    config = {"config": {"ingress": [{"service": "http_status:404"}]}}
    await mesh.call("PATCH", path, json={"name": "u", "tunnel_secret": secret})
    await mesh.call("PUT", f"{path}/configurations", json=config)
    await mesh.refused(409, "POST", f"{mesh.account}/cfd_tunnel", json={"name": "u"})
    await mesh.call("DELETE", f"{path}/connections")
    await mesh.call("DELETE", path)
    made = await mesh.call("POST", "/user/tokens", json={"name": "x", "scopes": ["tunnels:read"]})
    response = await mesh.client.get(f"{mesh.account}/logs/audit", params={**ALWAYS, "direction": "asc"})
    rows = [row for row in response.json()["result"] if row["actor"]["token_id"]]
    assert [(row["action"]["type"], row["resource"]["type"]) for row in rows] == [
        ("create", "cfd_tunnel"), ("update", "cfd_tunnel"), ("update", "tunnel_configuration"),
        ("delete", "tunnel_connections"), ("delete", "cfd_tunnel"), ("create", "api_token"),
    ]  # fmt: skip
    first = rows[0]
    assert first["actor"]["token_name"] == "first"
    assert first["actor"]["ip_address"] == "127.0.0.1"
    assert (first["raw"]["method"], first["raw"]["uri"]) == ("POST", f"/client/v4{mesh.account}/cfd_tunnel")
    assert first["resource"]["id"] == tunnel["id"]
    for hidden in (secret, tunnel["token"], made["value"], mesh.token):
        assert hidden not in response.text


async def test_pages_follow_each_other_without_gap_or_overlap(mesh: Mesh) -> None:
    for number in range(5):
        await mesh.tunnel(f"t{number}")
    for direction in ("asc", "desc"):
        whole = await mesh.call("GET", f"{mesh.account}/logs/audit", params={**ALWAYS, "direction": direction})
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            query = {**ALWAYS, "direction": direction, "limit": "2", **cursor}
            body = (await mesh.client.get(f"{mesh.account}/logs/audit", params=query)).json()
            seen += [row["id"] for row in body["result"]]
            after = body["result_info"]["cursors"]["after"]
            if not after:
                break
            cursor = {"cursor": after}
        assert seen == [row["id"] for row in whole]
    await mesh.refused(400, "GET", f"{mesh.account}/logs/audit", params={**ALWAYS, "cursor": "made up"})


async def test_filters_select(mesh: Mesh) -> None:
    made = await mesh.tunnel("one")
    await mesh.call("DELETE", f"{mesh.account}/cfd_tunnel/{made['id']}")
    path = f"{mesh.account}/logs/audit"
    (row,) = await mesh.call("GET", path, params={**ALWAYS, "resource_id": made["id"], "action_type": "delete"})
    assert row["action"]["type"] == "delete"
    assert await mesh.call("GET", path, params={"since": "2020-01-01", "before": "2020-01-02"}) == []
