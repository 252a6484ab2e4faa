"""`pyconnector tunnel create`, `list`, ...: against our control plane, and word for word as the genuine cloudflared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyconnector.control.login.cert_pem import moved
from pyconnector.edge import DirectorySettings, EdgeSettings, LocalEdge
from pyconnector.edge.settings import JoinSettings
from tests.control.support import open_mesh
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import ROOT, pyconnector

if TYPE_CHECKING:
    from tests.control.support import Mesh

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")


class Commands:
    """`tunnel` commands of one program, with our API and our cert.pem."""

    def __init__(self, mesh: Mesh, home: Path, *program: str) -> None:
        self.home, self.program = home, program or (sys.executable, "-m", "pyconnector")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
        self.environment = clean | {
            "TUNNEL_API_URL": mesh.plane.api_url,
            "TUNNEL_ORIGIN_CERT": str(mesh.plane.cert_pem),
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "src"),
        }

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *self.program, "tunnel", *arguments, env=self.environment | environment, cwd=self.home, stdout=-1, stderr=-1
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def __call__(self, *arguments: str) -> str:
        code, output, errors = await self.run(*arguments)
        assert code == 0, errors
        return output + errors


@contextlib.asynccontextmanager
async def with_commands(tmp_path: Path) -> AsyncIterator[tuple[Mesh, Commands]]:
    async with open_mesh(tmp_path / "data") as mesh:
        yield mesh, Commands(mesh, tmp_path)


async def test_a_tunnel_from_create_to_delete(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        created = await tunnel("create", "home")
        tunnel_id = created.split("with id ")[1].strip()
        path = tmp_path / "data" / f"{tunnel_id}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert list(json.loads(path.read_text())) == ["AccountTag", "TunnelSecret", "TunnelID", "Endpoint"]
        assert "Added CNAME app.example.com which will route" in await tunnel("route", "dns", "home", "app")
        config = tmp_path / "c.yml"
        config.write_text(f"tunnel: {tunnel_id}\ncredentials-file: {path}\ningress: [{{service: 'http_status:201'}}]\n")
        directory = DirectorySettings(url=mesh.plane.url, token=mesh.plane.edge_token_file.read_text().strip())
        async with LocalEdge(EdgeSettings(control=None, directory=directory, location="LAB")) as edge:
            dial = ("--edge", "{}:{}".format(*edge.quic_address), "--cacert", edge.ca_path)
            async with pyconnector("run", config, *dial, "--ha-connections", "2", "--protocol", "quic") as running:
                async with asyncio.timeout(30):
                    while "2xLAB" not in await tunnel("list"):
                        await asyncio.sleep(0.1)
                info = await tunnel("info", "home")
                assert re.search(r"^NAME: {5}home\nID: {7}" + tunnel_id, info)
                assert "2xLAB" in info
                code, _, errors = await tunnel.run("delete", "home")
                assert (code, "code: 1022" in errors) == (1, True)
                await tunnel("delete", "-f", "home")
                assert "No tunnels were found" in await tunnel("list")
                await running.close()


async def test_a_tunnel_is_created_ready_to_run(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        for wrong in (("--route", "app.example.com"), ("--service", "http://localhost:1")):
            code, _, errors = await tunnel.run("create", "home", *wrong)
            assert (code, "go together" in errors) == (255, True)
        code, _, errors = await tunnel.run("create", "home", "--route", "app.example.com", "--service", "htp:/x")
        assert (code, "--service" in errors) == (1, True)
        assert await mesh.call("GET", f"{mesh.account}/cfd_tunnel") == []
        said = await tunnel("create", "home", "--route", "app.example.com", "--service", "http_status:201")
        assert ".yml --edge HOST:PORT --cacert FILE\n" in said  # no edge has joined
        path = Path(said.split("pyconnector run ")[1].split(" ")[0])
        directory = DirectorySettings(url=mesh.plane.url, token=mesh.plane.edge_token_file.read_text().strip())
        async with LocalEdge(EdgeSettings(control=None, directory=directory)) as edge:
            dial = ("--edge", "{}:{}".format(*edge.quic_address), "--cacert", edge.ca_path, "--metrics", "127.0.0.1:0")
            async with pyconnector("run", path, *dial, "--ha-connections", "1") as running:
                await running.line("Registered tunnel connection")
                async with RawVisitor(edge.visitor_address) as visitor:
                    assert (await visitor.request(get("/", "app.example.com"))).status == 201
                await running.close()


async def test_a_config_names_the_edges_of_the_mesh(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "the data") as mesh:
        tunnel = Commands(mesh, tmp_path)
        token = mesh.plane.edge_token_file.read_text().strip()
        directory = DirectorySettings(url=mesh.plane.url, token=token, join=JoinSettings(listen=("127.0.0.1", 0)))
        async with LocalEdge(EdgeSettings(control=None, directory=directory)) as edge:

            async def reported() -> bool:
                return bool((await mesh.call("GET", f"{mesh.account}/edges"))["edges"])

            async with asyncio.timeout(20):
                while not await reported():
                    await asyncio.sleep(0.02)
            said = await tunnel("create", "home", "--route", "app.example.com", "--service", "http_status:201")
            (path,) = shlex.split(said.split("pyconnector run ")[1].split("\n")[0])
            more = ("--metrics", "127.0.0.1:0", "--ha-connections", "1", "--protocol", "quic")
            async with pyconnector("run", path, *more) as running:
                await running.line("Registered tunnel connection")
                async with RawVisitor(edge.visitor_address) as visitor:
                    assert (await visitor.request(get("/", "app.example.com"))).status == 201
                await running.close()


async def test_a_certificate_says_which_api_it_is_for(tmp_path: Path) -> None:
    for _ in range(2):  # at another address the second time
        async with open_mesh(tmp_path / "data", token="unused") as mesh:
            tunnel = Commands(mesh, tmp_path)
            del tunnel.environment["TUNNEL_API_URL"]
            assert "No tunnels were found" in await tunnel("list")
            assert stat.S_IMODE(mesh.plane.cert_pem.stat().st_mode) == 0o600


def test_a_file_that_is_no_certificate_is_left() -> None:
    for text in ("", "mine", "-----BEGIN ARGO TUNNEL TOKEN-----\nW10=\n-----END ARGO TUNNEL TOKEN-----\n"):
        assert moved(text, "http://127.0.0.1:1/client/v4") == text


async def test_secrets_are_not_given_away(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        await mesh.tunnel("t")
        damaged = tmp_path / "damaged.pem"
        damaged.write_text(mesh.plane.cert_pem.read_text().replace("\neyJ", "\neyK", 1))
        code, output, errors = await tunnel.run("list", TUNNEL_ORIGIN_CERT=str(damaged))
        assert code == 1
        assert "missing token in the certificate" in errors
        token = mesh.plane.edge_token_file.read_text().strip()
        assert token not in output + errors
        # A redirect is not followed with the token in hand.
        code, _, errors = await tunnel.run("list", TUNNEL_API_URL=mesh.plane.url)
        assert code == 1


LINES = [
    "create", "create a b", "create 11111111-1111-1111-1111-111111111111", "list", "list -o json", "list -o yaml",
    "list -o xml", "list --name one", "list -n nope", "list -np on", "list -enp=on", "list -d --sort-by name",
    "list -i 11111111-1111-1111-1111-111111111111", "info", "info nope", "info one", "info -o json one",
    "info -o yaml one",
    "info 11111111-1111-1111-1111-111111111111", "token", "token one", "token nope", "cleanup", "cleanup nope",
    "cleanup one", "delete", "delete nope", "delete 11111111-1111-1111-1111-111111111111", "create one",
    "route dns one", "route dns nope a", "route dns one app", "route dns two app", "route dns -f two app",
    "route dns one a..b", "route ip add x one", "route ip add 10.0.0.0/8", "route ip add 10.1.2.3/8 one note",
    "route ip add 10.0.0.0/8 one", "route ip show", "route ip show -o json", "route ip show -o yaml",
    "route ip list --nsup 10.1.0.0/16", "route ip get 10.9.9.9", "route ip get 192.0.2.1", "route ip get x",
    "route ip get", "route ip delete 10.9.0.0/16", "route ip delete", "route ip add --vnet nope 10.7.0.0/16 one",
    "vnet add", "vnet add lab comment", "vnet add lab", "vnet list", "vnet list -o json", "vnet list -o yaml",
    "vnet list --name q", "vnet add --default main", "vnet update nope", "vnet update -n other lab",
    "vnet update -c text -d other", "vnet delete nope", "vnet delete", "vnet delete other", "vnet delete main",
    "route ip delete 10.0.0.0/8", "delete one two", "list", "vnet list -o json --show-deleted",
]  # fmt: skip


def plain(text: str) -> str:
    """Without what differs from one run to the next, and the name of the program."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "<id>", text)
    text = re.sub(r"20\d\d-\d\d-\d\d[T ][0-9:]+(\.\d+)?", "<time>", text)
    text = re.sub(r"eyJ[A-Za-z0-9+/=]+", "<token>", text)
    return text.replace("cloudflared", "pyconnector")


@pytest.mark.reference
@pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary")
async def test_every_command_says_what_the_reference_says(tmp_path: Path) -> None:
    async def transcript(name: str, *program: str) -> list[str]:
        home = tmp_path / name
        home.mkdir()
        said = []
        async with open_mesh(home / "data") as mesh:
            commands = Commands(mesh, home, *program)
            for tunnel in ("one", "two"):
                await mesh.tunnel(tunnel)
            for line in LINES:
                code, output, errors = await commands.run(*line.split())
                said.append(f"$ {line}\n{code}\n{output}{errors}")
        return said

    # Some hundred processes.
    theirs, ours = await transcript("theirs", BINARY), await transcript("ours")
    assert [plain(text) for text in ours] == [plain(text) for text in theirs]
