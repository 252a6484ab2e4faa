"""Quick tunnels: for anybody who asks this machine, few, hard to guess, and gone soon."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pyconnector.control.pace import MAX_ADDRESSES, Pace
from pyconnector.control.quick import BURST, REFILL
from pyconnector.control.settings import ControlPlaneSettings, SettingsError
from pyconnector.control.store.objects import quick
from pyconnector.control.store.work import Actor, Work

if TYPE_CHECKING:
    from tests.control.support import Mesh, NewMesh

EDGE = "10ae7f4c-68bb-4d50-9d63-6de0a2a8a7f5"


def report(**fields: Any) -> dict[str, Any]:
    return {
        "id": EDGE, "name": "lab", "address": "127.0.0.1:7844", "visitors": "http://127.0.0.1:8080",
        "connections": [], **fields,
    }  # fmt: skip


def held(tunnel_id: str) -> dict[str, Any]:
    return {
        "id": "5f0c1f6e-11b6-4bb4-9d1e-2f4a6a3a7c11", "tunnel_id": tunnel_id, "client_id": EDGE, "client_version": "1",
        "arch": "a", "features": [], "position": 0, "origin_ip": "127.0.0.1", "location": "lab",
        "configuration_version": 0, "age": 0.0,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def asker(mesh: Mesh) -> Any:
    headers = {"Content-Type": "application/json", "User-Agent": "cloudflared/test"}
    async with httpx.AsyncClient(base_url=mesh.plane.url, headers=headers, timeout=30) as client, mesh.edge() as edge:
        assert (await edge.post("/report", json=report())).status_code == 200

        async def ask(**options: Any) -> httpx.Response:
            return await client.post("/tunnel", **options)

        yield ask


async def expire(mesh: Mesh, seconds: float) -> int:
    """What a look for old ones deletes, that many seconds from now."""

    async def operation(work: Work) -> int:
        work.now += datetime.timedelta(seconds=seconds)
        return await quick.expire(work)

    return await mesh.plane.database.write(Actor(account_id=mesh.plane.installation.account_id), operation)


async def test_anybody_gets_a_tunnel_with_a_name(mesh: Mesh) -> None:
    async with asker(mesh) as ask:
        made, other = (await ask()).json()["result"], (await ask()).json()["result"]
    assert made["hostname"] == f"{made['name']}.example.com"
    assert made["hostname"] != other["hostname"]
    assert made["account_tag"] == mesh.plane.installation.account_id
    assert (made["edges"], made["visitors"]) == (["127.0.0.1:7844"], "http://127.0.0.1:8080")
    # It is a tunnel like any other, in a form that every client knows.
    listed = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{made['id']}")
    assert (listed["config_src"], listed["metadata"]) == ("local", {"quick": True})
    (record,) = await mesh.call("GET", f"{mesh.zone}/dns_records?name={made['hostname']}")
    assert record["content"].startswith(made["id"])
    (entry, *_) = await mesh.call("GET", f"{mesh.account}/logs/audit?since=2020-01-01&before=2099-01-01")
    assert made["secret"] not in str(entry)


async def test_one_without_a_connector_is_deleted_with_its_name(mesh: Mesh) -> None:
    async with asker(mesh) as ask:
        made = (await ask()).json()["result"]
    await mesh.tunnel("lasting")
    assert await expire(mesh, quick.IDLE_LIFETIME - 10) == 0
    assert await expire(mesh, quick.IDLE_LIFETIME) == 1
    assert [row["name"] for row in await mesh.call("GET", f"{mesh.account}/cfd_tunnel?is_deleted=false")] == ["lasting"]
    assert await mesh.call("GET", f"{mesh.zone}/dns_records?name={made['hostname']}") == []


async def test_a_connected_one_stays_for_a_day(mesh: Mesh) -> None:
    async with asker(mesh) as ask, mesh.edge() as edge:
        made = (await ask()).json()["result"]
        await edge.post("/report", json=report(connections=[held(made["id"])]))
        assert await expire(mesh, 4) == 0
        # Its edge is silent: nobody saw the connector leave, so it may be back in a moment.
        assert await expire(mesh, quick.IDLE_LIFETIME) == 0
        await edge.post("/report", json=report())
        assert await expire(mesh, quick.IDLE_LIFETIME - 10) == 0
        await edge.post("/report", json=report(connections=[held(made["id"])]))
        assert await expire(mesh, quick.LONGEST_LIFETIME) == 1


async def test_one_whose_connector_left_is_deleted_later(mesh: Mesh) -> None:
    async with asker(mesh) as ask, mesh.edge() as edge:
        made = (await ask()).json()["result"]
        await edge.post("/report", json=report(connections=[held(made["id"])]))
        await edge.post("/report", json=report())
        assert await expire(mesh, quick.IDLE_LIFETIME + 1) == 1


async def test_there_are_no_more_than_the_limit(new_mesh: NewMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.control.settings.DEFAULT_QUICK_TUNNELS", 2)

    async with new_mesh() as mesh:
        async with asker(mesh) as ask:
            assert [(await ask()).status_code for _ in range(3)] == [200, 200, 503]


async def test_an_address_asks_so_often_and_no_more(mesh: Mesh) -> None:
    async with asker(mesh) as ask:
        codes = [(await ask()).status_code for _ in range(BURST + 2)]
    assert codes == [200] * BURST + [429] * 2


async def test_without_an_edge_there_is_none(mesh: Mesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.plane.url) as client:
        response = await client.post("/tunnel", json={})
    assert response.status_code == 503
    assert "No edge is connected" in response.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Host": "rebound.example"}, 421),
        ({"Content-Type": "application/json", "Host": "localhost.evil.example"}, 421),
    ],
)
async def test_a_web_page_of_others_gets_none(mesh: Mesh, headers: dict[str, str], status: int) -> None:
    async with asker(mesh) as ask:
        assert (await ask(headers=headers)).status_code == status
        assert (await ask(headers={"Host": "localhost:1"})).status_code == 200
        assert (await ask(headers={"Host": "[::1]:1"})).status_code == 200


def test_the_pace_refills_and_is_bounded_in_memory() -> None:
    pace = Pace(burst=BURST, refill=REFILL)
    assert [pace.take("a", 0.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert not pace.take("a", REFILL / 2)
    assert pace.take("a", REFILL)
    assert not pace.take("a", REFILL)
    assert pace.take("b", 0.0)
    for number in range(MAX_ADDRESSES + 5):
        pace.take(str(number), 0.0)
    assert len(pace) == MAX_ADDRESSES


def test_only_loopback_hands_them_out_by_itself(tmp_path: Any) -> None:
    def limit(host: str, **more: Any) -> int:
        return ControlPlaneSettings(data_directory=tmp_path, address=(host, 1), **more).quick_limit

    assert (limit("127.0.0.1"), limit("::1"), limit("localhost"), limit("0.0.0.0")) == (100, 100, 100, 0)
    assert (limit("0.0.0.0", quick_tunnels=3), limit("127.0.0.1", quick_tunnels=0)) == (3, 0)
    with pytest.raises(SettingsError, match="--quick-tunnels"):
        limit("127.0.0.1", quick_tunnels=-1)
