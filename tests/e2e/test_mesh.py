"""The story of docs, mesh.md: `mesh up`, a tunnel made by API, a name routed to it, a connector, a new config."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import Process, pyconnector

HOST = "app.mesh.test"


@contextlib.asynccontextmanager
async def mesh_up(data: Path, *more: str, **addresses: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    places: list[str] = []
    for name in ("api", "edge", "visitors"):
        places += [f"--{name}", addresses.get(name, "127.0.0.1:0")]
    async with pyconnector(
        "mesh", "up", "--json", "--data-dir", data, "--zone", "mesh.test", *places, *more
    ) as process:
        yield process, json.loads(await process.line('{"api_url"'))


class Api:
    """curl, so to speak."""

    def __init__(self, told: dict[str, Any], token: str = "") -> None:
        self.account, self.zone = f"/accounts/{told['account_id']}", f"/zones/{told['zone_id']}"
        headers = {"Authorization": f"Bearer {token or told['api_token']}"}
        self.client = httpx.AsyncClient(base_url=told["api_url"], headers=headers, timeout=20)

    async def __call__(self, method: str, path: str, body: object = None) -> Any:
        response = await self.client.request(method, path, json=body)
        assert response.status_code == 200, response.text
        return response.json()["result"]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def status(visitors: str, host: str = HOST) -> int:
    name, _, port = visitors.rpartition(":")
    async with RawVisitor((name, int(port))) as visitor:
        return (await visitor.request(get("/", host))).status


def connector(told: dict[str, Any], token: str, data: Path, rules: list[dict[str, str]]) -> Any:
    config = data / "config.yml"
    lines = [f"edge: {told['edge']}", f"cacert: {told['ca']}", f"ingress: {json.dumps(rules)}"]
    config.write_text("\n".join(lines))
    arguments = ("--ha-connections", "2", "--protocol", "quic", "--metrics", "127.0.0.1:0")
    return pyconnector("run", config, *arguments, TUNNEL_TOKEN=token)


async def test_the_story(tmp_path: Path) -> None:
    async with mesh_up(tmp_path / "data") as (mesh, told):
        api = Api(told)
        tunnel = await api("POST", f"{api.account}/cfd_tunnel", {"name": "story"})
        path = f"{api.account}/cfd_tunnel/{tunnel['id']}"
        route = {"type": "dns", "user_hostname": HOST, "overwrite_existing": False}
        routed = await api("PUT", f"{api.zone}/tunnels/{tunnel['id']}/routes", route)
        assert (routed["cname"], routed["name"]) == ("new", HOST)
        async with connector(told, tunnel["token"], tmp_path, [{"service": "http_status:201"}]) as running:

            async def healthy() -> bool:
                found = await api("GET", f"{api.account}/cfd_tunnel?is_deleted=false&status=healthy")
                return [len(row["connections"]) for row in found] == [2]

            await until(healthy, "both connections in the list")
            (client,) = await api("GET", f"{path}/connections")
            assert client["version"]
            assert {entry["colo_name"] for entry in client["conns"]} == {"local"}
            assert (await api("GET", f"{path}/connectors/{client['id']}"))["id"] == client["id"]
            assert await status(told["visitors"]) == 201
            assert await status(told["visitors"], "other.mesh.test") == 530

            config = {"ingress": [{"hostname": HOST, "service": "http_status:202"}, {"service": "http_status:404"}]}
            assert (await api("PUT", f"{path}/configurations", {"config": config}))["version"] == 1

            async def effective() -> bool:
                return await status(told["visitors"]) == 202

            await until(effective, "the new configuration")

            async def told_back() -> bool:
                (connected,) = await api("GET", f"{path}/connections")
                return bool(connected["config_version"] == 1)

            await until(told_back, "the version in force")

            response = await api.client.delete(path)
            assert response.json()["errors"][0]["code"] == 1022
            await api("DELETE", f"{path}?cascade=true")

            async def gone() -> bool:
                return await status(told["visitors"]) == 530

            await until(gone, "the end of the tunnel")
            assert await api("GET", f"{api.account}/cfd_tunnel?is_deleted=false") == []
            running.send_signal(signal.SIGTERM)
            await running.code()
        await api.client.aclose()
        mesh.send_signal(signal.SIGTERM)
        assert await mesh.code() == 0, mesh.text
        assert "Traceback" not in mesh.text


async def test_a_mesh_comes_back_with_everything_but_its_first_token(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with mesh_up(data) as (mesh, first):
        api = Api(first)
        made = await api("POST", f"{api.account}/cfd_tunnel", {"name": "stays"})
        await api.client.aclose()
        mesh.send_signal(signal.SIGKILL)
    async with mesh_up(data) as (mesh, second):
        assert second["api_token"] is None
        assert second["account_id"] == first["account_id"]
        api = Api(second, first["api_token"])
        (found,) = await api("GET", f"{api.account}/cfd_tunnel")
        assert found["id"] == made["id"]
        await api.client.aclose()
    for name in ("cert.pem", "edge-token", "ca-key.pem", "control.sqlite3"):
        assert (data / name).stat().st_mode & 0o077 == 0, name


async def test_an_edge_serves_on_without_its_control_plane(tmp_path: Path) -> None:
    data = tmp_path / "data"
    control = ("control", "--json", "--data-dir", data, "--zone", "mesh.test", "--api")
    edge = (
        "edge", "--listen", "127.0.0.1:0", "--visitors", "127.0.0.1:0", "--ca-dir", tmp_path / "edge",
        "--snapshot", tmp_path / "snapshot.json", "--control-token-file", data / "edge-token", "--control",
    )  # fmt: skip
    async with pyconnector(*control, "127.0.0.1:0") as plane:
        told = json.loads(await plane.line('{"api_url"'))
        url = told["api_url"].removesuffix("/client/v4")
        api = Api(told)
        tunnel = await api("POST", f"{api.account}/cfd_tunnel", {"name": "alone"})
        route = {"type": "dns", "user_hostname": HOST}
        await api("PUT", f"{api.zone}/tunnels/{tunnel['id']}/routes", route)
        await api.client.aclose()
        async with pyconnector(*edge, url) as first:
            await first.line("visitors:")
            await first.line("1 tunnels, 1 hostnames")
            first.send_signal(signal.SIGTERM)
            assert await first.code() == 0, first.text
    # The control plane is gone. The edge starts with what it kept, and says of when that is.
    assert (tmp_path / "snapshot.json").stat().st_mode & 0o077 == 0
    async with pyconnector(*edge, url) as second:
        visitors = (await second.line("visitors:")).split("http://")[1].rstrip("/")
        listening = (await second.line("connectors:")).split()[2]
        await second.line("Took the cached snapshot of 20")
        await second.line("Going on with what is known as of 20")
        told = {"edge": [listening], "ca": str(tmp_path / "edge" / "ca.pem")}
        async with connector(told, tunnel["token"], tmp_path, [{"service": "http_status:203"}]):

            async def served() -> bool:
                return await status(visitors) == 203

            await until(served, "the route of the cached snapshot")


@pytest.mark.parametrize("which", ["--api", "--visitors"])
async def test_a_first_start_that_fails_still_shows_the_token(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = f"127.0.0.1:{taken.getsockname()[1]}"
        free = [name for name in ("--api", "--edge", "--visitors") if name != which]
        places = (which, used, *(part for name in free for part in (name, "127.0.0.1:0")))
        async with pyconnector("mesh", "up", "--data-dir", tmp_path / "data", *places) as process:
            assert await process.code() == 1
            shown = (await process.line("API token:")).split()[2]
            assert re.search(rf"error: the (edge|control plane) cannot start.*{used}: Address already", process.text)
    async with mesh_up(tmp_path / "data") as (_, told):
        api = Api(told, shown)
        assert await api("GET", f"{api.account}/cfd_tunnel") == []
        await api.client.aclose()
