"""What edges are told: a snapshot and then every change, in its order, and what they report back."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pyconnector.control.store import work
from pyconnector.control.store.objects.live import EDGE_LIFETIME
from pyconnector.protocol.tokens import decode_token
from tests.control.support import NewMesh, open_mesh, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.control.support import Mesh


async def test_changes_lead_from_one_snapshot_to_the_next(mesh: Mesh) -> None:
    async with mesh.edge() as edge:
        before = await snapshot(edge)
        made = await mesh.tunnel("t")
        path = f"{mesh.account}/cfd_tunnel/{made['id']}"
        config = {"ingress": [{"service": "http_status:404"}]}
        await mesh.call("PUT", f"{path}/configurations", json={"config": config})
        await mesh.call("PUT", f"{mesh.zone}/tunnels/{made['id']}/routes", json={"type": "dns", "user_hostname": "a"})
        route = {"network": "10.0.0.0/8", "tunnel_id": made["id"]}
        await mesh.call("POST", f"{mesh.account}/teamnet/routes", json=route)
        gone = await mesh.tunnel("gone")
        await mesh.call("DELETE", f"{mesh.account}/cfd_tunnel/{gone['id']}")
        after = await snapshot(edge)
        objects = before["objects"]
        body = (await edge.get("/changes", params={"after": before["number"]})).json()
        numbers = [change["number"] for change in body["changes"]]
        assert numbers == list(range(before["number"] + 1, after["number"] + 1))
        for change in body["changes"]:
            if change["value"] is None:
                del objects[change["kind"]][change["id"]]
            else:
                objects[change["kind"]][change["id"]] = change["value"]
        assert objects == after["objects"]
        told = after["objects"]["tunnel"][made["id"]]
        secret = decode_token(made["token"]).secret
        assert told["secret_sha256"] == hashlib.sha256(secret).hexdigest()
        assert (told["configuration"], told["configuration_version"]) == (config, 1)
        assert made["token"] not in str(after)


async def test_a_waiting_edge_is_told_at_once(mesh: Mesh) -> None:
    async with mesh.edge() as edge:
        number = (await snapshot(edge))["number"]
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(edge.get("/changes", params={"after": number, "wait": 20}))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        begun = loop.time()
        await mesh.tunnel("t")
        body = (await waiting).json()
        assert [change["kind"] for change in body["changes"]] == ["tunnel"]
        assert loop.time() - begun < 10  # not after the whole wait
        empty = (await edge.get("/changes", params={"after": body["last"], "wait": 0})).json()
        assert empty == {"changes": [], "last": body["last"]}


@pytest.mark.postgres
async def test_changes_of_another_control_plane_are_announced(tmp_path: Path, database: str) -> None:
    if not database:
        pytest.skip("one SQLite file has one control plane")

    async with (
        open_mesh(tmp_path / "one", database) as one,
        open_mesh(tmp_path / "two", database, one.token) as two,
    ):
        assert one.plane.installation.account_id == two.plane.installation.account_id
        async with one.edge() as edge:
            number = (await snapshot(edge))["number"]
            waiting = asyncio.create_task(edge.get("/changes", params={"after": number, "wait": 20}))
            await two.tunnel("made elsewhere")
            (change,) = (await waiting).json()["changes"]
            assert change["value"]["name"] == "made elsewhere"


async def test_who_missed_too_much_takes_a_snapshot(new_mesh: NewMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "KEPT_CHANGES", 3)

    async with new_mesh() as mesh:
        async with mesh.edge() as edge:
            for number in range(6):
                await mesh.tunnel(f"t{number}")
            last = (await snapshot(edge))["number"]
            assert len((await edge.get("/changes", params={"after": last - 3})).json()["changes"]) == 3
            assert (await edge.get("/changes", params={"after": last - 4})).status_code == 410
            assert (await edge.get("/changes", params={"after": last + 1})).status_code == 410


async def test_only_edges_are_told(mesh: Mesh) -> None:
    for path in ("snapshot", "changes?after=0"):
        assert (await mesh.client.get(f"{mesh.plane.url}/edge/v1/{path}")).status_code == 403
    async with mesh.edge() as edge:
        response = await edge.get(f"{mesh.plane.api_url}{mesh.account}/cfd_tunnel")
        assert response.status_code == 403


def connection(tunnel: str, client: str, position: int, **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "tunnel_id": tunnel, "client_id": client, "client_version": "1.0", "arch": "linux",
        "features": ["one"], "position": position, "origin_ip": "192.0.2.1", "location": "lab",
        "configuration_version": -1, "age": 1.0, **more,
    }  # fmt: skip


async def test_reported_connections_make_the_status(mesh: Mesh) -> None:
    made = await mesh.tunnel()
    tunnel, client, me = made["id"], str(uuid.uuid4()), str(uuid.uuid4())
    held = [connection(tunnel, client, position) for position in range(3)]

    async def report(edge: httpx.AsyncClient, *connections: dict[str, Any], **more: Any) -> list[str]:
        body = {"id": me, "name": "lab", "address": "", "connections": list(connections), **more}
        response = await edge.post("/report", json=body)
        assert response.status_code == 200, response.text
        close: list[str] = response.json()["close"]
        return close

    async def status() -> str:
        told: str = (await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{tunnel}"))["status"]
        selected = await mesh.call("GET", f"{mesh.account}/cfd_tunnel", params={"status": told})
        assert [row["id"] for row in selected] == [tunnel]
        return told

    async with mesh.edge() as edge:
        assert await report(edge, *held) == []
        assert await status() == "healthy"
        (told,) = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{tunnel}/connections")
        assert (told["id"], told["arch"], told["features"]) == (client, "linux", ["one"])
        assert {entry["id"] for entry in told["conns"]} == {entry["id"] for entry in held}
        assert await report(edge, held[0], held[2]) == []
        assert await status() == "degraded"
        assert await report(edge) == []
        assert await status() == "down"
        row = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{tunnel}")
        assert row["conns_inactive_at"] is not None
        unknown = connection(str(uuid.uuid4()), client, 0)
        assert await report(edge, *held, unknown) == [unknown["id"]]
        assert (await mesh.refused(409, "DELETE", f"{mesh.account}/cfd_tunnel/{tunnel}"))["code"] == 1022
        assert await report(edge, leaving=True) == []
        assert await status() == "down"


async def test_a_silent_edge_no_longer_counts(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyconnector.control.store.objects import live

    tunnel = (await mesh.tunnel())["id"]
    body = {"id": str(uuid.uuid4()), "name": "lab", "address": "",
            "connections": [connection(tunnel, str(uuid.uuid4()), 0)]}  # fmt: skip
    async with mesh.edge() as edge:
        await edge.post("/report", json=body)
        path = f"{mesh.account}/cfd_tunnel/{tunnel}/connections"
        assert len(await mesh.call("GET", path)) == 1
        monkeypatch.setattr(live, "EDGE_LIFETIME", -EDGE_LIFETIME)  # as if that time had passed
        assert await mesh.call("GET", path) == []
        monkeypatch.undo()
        other = {"id": str(uuid.uuid4()), "name": "lab", "address": "", "connections": []}
        await edge.post("/report", json=other)
        assert len(await mesh.call("GET", path)) == 1  # an edge of the same name is another one


async def test_a_cleanup_is_a_change(mesh: Mesh) -> None:
    tunnel, client = (await mesh.tunnel())["id"], str(uuid.uuid4())
    async with mesh.edge() as edge:
        number = (await snapshot(edge))["number"]
        path = f"{mesh.account}/cfd_tunnel/{tunnel}/connections"
        await mesh.call("DELETE", path, params={"client_id": client})
        (change,) = (await edge.get("/changes", params={"after": number})).json()["changes"]
        assert (change["kind"], change["id"], change["value"]) == ("cleanup", tunnel, {"client_id": client})


async def test_a_malformed_report_is_refused(mesh: Mesh) -> None:
    tunnel = (await mesh.tunnel())["id"]
    good = {"id": str(uuid.uuid4()), "name": "lab", "address": "", "connections": []}
    bad: list[dict[str, Any]] = [
        {"id": "x"},
        {"connections": [{}]},
        {"connections": [connection(tunnel, "x", 0)]},
        {"connections": [connection(tunnel, str(uuid.uuid4()), -1)]},
        {"connections": [connection(tunnel, str(uuid.uuid4()), 0, age=-1.0)]},
        {"connections": [connection(tunnel, str(uuid.uuid4()), 0, arch="a\0b")]},
        {"more": 1},
    ]
    async with mesh.edge() as edge:
        for change in bad:
            assert (await edge.post("/report", json={**good, **change})).status_code == 400
