"""Edges that follow a control plane: changes take effect at once, and an absence is waited out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyconnector import Connector, Credentials
from pyconnector.edge import DirectorySettings, EdgeSettings, LocalEdge
from pyconnector.protocol.tokens import decode_token
from tests.control.support import open_mesh
from tests.support.houses.house import config_for
from tests.support.peers.raw_visitor import RawVisitor, get

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} never came true") from None


def following(mesh: Mesh, cache: Path | None = None) -> EdgeSettings:
    token = mesh.plane.edge_token_file.read_text().strip()
    return EdgeSettings(
        control=None, location="lab", directory=DirectorySettings(url=mesh.plane.url, token=token, cache=cache)
    )


@contextlib.asynccontextmanager
async def connected(edge: LocalEdge, token: str, status: int) -> AsyncIterator[Connector]:
    parsed = decode_token(token)
    credentials = Credentials(account_tag=parsed.account_tag, tunnel_id=parsed.tunnel_id, secret=parsed.secret)
    config = replace(config_for(edge, [{"service": f"http_status:{status}"}]), credentials=credentials)
    async with Connector(config) as connector:
        async with asyncio.timeout(20):
            await connector.wait_ready()
        yield connector


async def visit(edge: LocalEdge, host: str) -> int:
    async with RawVisitor(edge.visitor_address) as visitor:
        return (await visitor.request(get("/", host))).status


async def route(mesh: Mesh, tunnel: str, name: str) -> None:
    await mesh.call("PUT", f"{mesh.zone}/tunnels/{tunnel}/routes", json={"type": "dns", "user_hostname": name})


async def eventually(call: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(20):
        while await call() != wanted:
            await asyncio.sleep(0.01)


async def test_two_edges_learn_of_a_tunnel_and_lose_it(tmp_path: Path, database: str) -> None:
    async with (
        open_mesh(tmp_path / "data", database) as mesh,
        LocalEdge(following(mesh)) as one,
        LocalEdge(following(mesh)) as two,
    ):
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        for edge in (one, two):
            await until(lambda edge=edge: edge.tunnels.for_host("app.example.com") is not None, "the name")  # type: ignore[misc]  # bound at once
        async with connected(one, made["token"], 201), connected(two, made["token"], 202):
            assert await visit(one, "app.example.com") == 201
            assert await visit(two, "app.example.com") == 202
            path = f"{mesh.account}/cfd_tunnel/{made['id']}"
            async with asyncio.timeout(20):
                while len(await mesh.call("GET", f"{path}/connections")) != 2:
                    await asyncio.sleep(0.02)
            await mesh.call("DELETE", path, params={"cascade": "true"})
            for edge in (one, two):
                await eventually(lambda edge=edge: visit(edge, "app.example.com"), 530)  # type: ignore[misc]


async def test_an_edge_waits_out_its_control_plane(tmp_path: Path) -> None:
    cache = tmp_path / "snapshot.json"
    async with open_mesh(tmp_path / "data") as mesh:
        settings, token, address = following(mesh, cache), mesh.token, mesh.plane.address
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        edge = LocalEdge(settings)
        await edge.start()
    try:
        async with connected(edge, made["token"], 201):
            assert await visit(edge, "app.example.com") == 201
            assert edge.follower is not None
            follower = edge.follower
            await until(lambda: not follower.connected, "the absence")
            assert follower.describe()["age_seconds"] is not None
            async with open_mesh(tmp_path / "data", token=token, address=address) as mesh:
                await until(lambda: follower.connected, "the return")
                await route(mesh, made["id"], "later")
                await until(lambda: edge.tunnels.for_host("later.example.com") is not None, "the new name")
                assert await visit(edge, "later.example.com") == 201
    finally:
        await edge.stop()
    assert os.stat(cache).st_mode & 0o077 == 0


async def test_a_secret_that_was_changed_lets_only_the_new_one_in(tmp_path: Path) -> None:
    import base64

    async with open_mesh(tmp_path / "data") as mesh, LocalEdge(following(mesh)) as edge:
        made = await mesh.tunnel("t")
        path = f"{mesh.account}/cfd_tunnel/{made['id']}"
        await mesh.call("PATCH", path, json={"tunnel_secret": base64.b64encode(b"n" * 32).decode()})
        changed = await mesh.call("GET", f"{path}/token")
        tunnel_id = decode_token(changed).tunnel_id
        await until(
            lambda: (tunnel := edge.tunnels.get(tunnel_id)) is not None and tunnel.check_secret(b"n" * 32),
            "the new secret",
        )
        tunnel = edge.tunnels.get(tunnel_id)
        assert tunnel is not None
        assert not tunnel.check_secret(decode_token(made["token"]).secret)
