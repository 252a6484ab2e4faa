"""The genuine cloudflared against our API and edge: it takes our answers for the real ones, and runs on our cert.pem.

Needs PYCONNECTOR_CLOUDFLARED to name the binary. Everything is on loopback; look-ups of updates fail and do no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyconnector.edge import DirectorySettings, EdgeSettings, LocalEdge
from tests.control.support import Mesh, open_mesh
from tests.support.peers.raw_visitor import RawVisitor, get

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary"),
]


class Cloudflared:
    """Its `tunnel` commands, with our API and our cert.pem."""

    def __init__(self, mesh: Mesh, home: Path) -> None:
        self.home = home
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
        self.environment = clean | {
            "TUNNEL_API_URL": mesh.plane.api_url,
            "TUNNEL_ORIGIN_CERT": str(mesh.plane.cert_pem),
            "HOME": str(home),
        }

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run to the end, and return both outputs."""
        process = await asyncio.create_subprocess_exec(
            BINARY, "tunnel", *arguments, env=self.environment, cwd=self.home, stdout=-1, stderr=-1
        )
        output, errors = await process.communicate()
        text = (output + errors).decode()
        assert process.returncode == code, f"{arguments}: {process.returncode}: {text}"
        return text

    @contextlib.asynccontextmanager
    async def running(self, edge: LocalEdge, *arguments: str) -> AsyncIterator[None]:
        """Run a connector for the block."""
        config = self.home / "config.yaml"
        config.write_text("ingress:\n  - service: http_status:201\n")
        command = ["--config", str(config), "--no-autoupdate", "--no-prechecks", "--metrics", "127.0.0.1:0"]
        command += ["--edge", "{}:{}".format(*edge.quic_address), "--cacert", str(edge.ca_path)]
        command += ["--ha-connections", "1", "--protocol", "quic", "--grace-period", "1s", "run", *arguments]
        with (self.home / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                BINARY, "tunnel", *command, env=self.environment, cwd=self.home, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()


@contextlib.asynccontextmanager
async def with_reference(tmp_path: Path) -> AsyncIterator[tuple[Mesh, Cloudflared]]:
    async with open_mesh(tmp_path / "data") as mesh:
        yield mesh, Cloudflared(mesh, tmp_path)


async def test_tunnels_and_names(tmp_path: Path) -> None:
    async with with_reference(tmp_path) as (mesh, cloudflared):
        created = await cloudflared("create", "home")
        tunnel_id = created.split("with id ")[1].strip()
        credentials = tmp_path / "data" / f"{tunnel_id}.json"
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o400
        assert json.loads(credentials.read_text())["AccountTag"] == mesh.plane.installation.account_id
        assert "tunnel with name already exists" in await cloudflared("create", "home", code=1)
        (listed,) = json.loads((await cloudflared("list", "-o", "json")).partition("\n]")[0] + "\n]")
        assert (listed["id"], listed["name"], listed["connections"]) == (tunnel_id, "home", [])
        assert "does not have any active connection" in await cloudflared("info", "home")
        token = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{tunnel_id}/token")
        assert len((await cloudflared("token", tunnel_id)).strip()) == len(token)
        added = await cloudflared("route", "dns", "home", "app")
        assert "Added CNAME app.example.com which will route to this tunnel" in added
        assert "is already configured to route" in await cloudflared("route", "dns", "home", "app.example.com")
        await cloudflared("create", "two")
        assert "code: 1003" in await cloudflared("route", "dns", "two", "app", code=1)
        assert "app.example.com updated to route" in await cloudflared("route", "dns", "-f", "two", "app")
        assert "there are no load balancers" in await cloudflared("route", "lb", "home", "lb", "pool", code=1)
        await cloudflared("cleanup", "home")
        await cloudflared("delete", "home", "two")
        assert "No tunnels were found" in await cloudflared("list")
        deleted = await cloudflared("list", "-d")
        assert "home" in deleted
        assert "two" in deleted
        assert "there should only be 1 non-deleted Tunnel named home" in await cloudflared("delete", "home", code=1)


async def test_private_networks(tmp_path: Path) -> None:
    async with with_reference(tmp_path) as (_, cloudflared):
        await cloudflared("create", "home")
        assert "Successfully added virtual 'network' lab" in await cloudflared("vnet", "add", "lab", "comment")
        assert "default" in await cloudflared("vnet", "list")
        assert "Successfully updated" in await cloudflared("vnet", "update", "--default", "lab")
        added = await cloudflared("route", "ip", "add", "10.1.2.3/16", "home", "lan")
        assert "Successfully added route for 10.1.0.0/16" in added
        assert "code: 1014" in await cloudflared("route", "ip", "add", "10.1.0.0/16", "home", code=1)
        assert "10.1.0.0/16" in await cloudflared("route", "ip", "show")
        assert "10.1.0.0/16" in await cloudflared("route", "ip", "get", "10.1.9.9")
        assert "No route matches the IP 192.0.2.1" in await cloudflared("route", "ip", "get", "192.0.2.1")
        assert "code: 1017" in await cloudflared("vnet", "delete", "lab", code=1)
        assert "Successfully deleted route" in await cloudflared("route", "ip", "delete", "10.1.0.0/16")
        assert "No routes were found" in await cloudflared("route", "ip", "show")
        await cloudflared("vnet", "update", "--default", "default")
        assert "Successfully deleted virtual network 'lab'" in await cloudflared("vnet", "delete", "lab")


async def test_a_connector_is_listed_cleaned_up_and_deleted(tmp_path: Path) -> None:
    async with with_reference(tmp_path) as (mesh, cloudflared):
        token = mesh.plane.edge_token_file.read_text().strip()
        directory = DirectorySettings(url=mesh.plane.url, token=token)
        created = await cloudflared("create", "home")
        tunnel_id = str(uuid.UUID(created.split("with id ")[1].strip()))
        await cloudflared("route", "dns", "home", "app")
        async with LocalEdge(EdgeSettings(control=None, directory=directory, location="LAB")) as edge:
            async with cloudflared.running(edge, "home"):
                await appears(cloudflared, "1xLAB", "list")
                info = await cloudflared("info", "home")
                assert "linux_" in info
                async with RawVisitor(edge.visitor_address) as visitor:
                    assert (await visitor.request(get("/", "app.example.com"))).status == 201
                tunnel = edge.tunnels.get(uuid.UUID(tunnel_id))
                assert tunnel is not None
                before = list(tunnel.members)
                assert "code: 1022" in await cloudflared("delete", "home", code=1)
                await cloudflared("cleanup", "home")
                async with asyncio.timeout(20):
                    while any(member in tunnel.members for member in before):
                        await asyncio.sleep(0.02)
                await appears(cloudflared, "1xLAB", "list")  # it runs on, so it comes back
                await cloudflared("delete", "-f", "home")
                async with asyncio.timeout(20):
                    while edge.tunnels.get(uuid.UUID(tunnel_id)) is not None or tunnel.members:
                        await asyncio.sleep(0.02)
                async with RawVisitor(edge.visitor_address) as visitor:
                    assert (await visitor.request(get("/", "app.example.com"))).status == 530


async def appears(cloudflared: Cloudflared, text: str, *arguments: str) -> None:
    async with asyncio.timeout(40):
        while text not in await cloudflared(*arguments):
            await asyncio.sleep(0.1)
