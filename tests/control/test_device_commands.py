"""`pyconnector mesh device`: a key that is made here, a configuration that is shown once."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from pyconnector.connector.cli.commands import main
from pyconnector.identity.devices.wireguard import public_key_of
from tests.control.support import open_mesh

if TYPE_CHECKING:
    from pathlib import Path

    from tests.control.support import Mesh


class Commands:
    def __init__(self, mesh: Mesh, home: Path) -> None:
        token_file = home / "api-token"
        token_file.write_text(mesh.token)
        self._environment = {
            "TUNNEL_API_URL": mesh.plane.api_url, "TUNNEL_ORIGIN_CERT": str(mesh.plane.cert_pem),
            "PYCONNECTOR_API_TOKEN_FILE": str(token_file),
        }  # fmt: skip

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        found = await asyncio.to_thread(CliRunner().invoke, main, ["mesh", "device", *arguments], env=self._environment)
        assert found.exit_code == code, found.output
        return found.output


async def test_a_device_is_added_listed_revoked_and_deleted(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        device = Commands(mesh, tmp_path)
        await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "agent-01"})
        tunnel = await mesh.tunnel()
        route = {"network": "10.20.0.0/16", "tunnel_id": tunnel["id"]}
        await mesh.call("POST", f"{mesh.account}/teamnet/routes", json=route)
        path = tmp_path / "phone.conf"
        told = ("add", "phone", "--token", "agent-01", "--endpoint", "edge.example")
        assert "Mesh address 100.96.0.3" in await device(*told, "--file", str(path), "--qr")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = dict(line.split(" = ") for line in path.read_text().splitlines() if " = " in line)
        assert lines["Endpoint"] == "edge.example:51820"
        assert lines["DNS"] == "100.96.0.1"
        assert lines["AllowedIPs"] == "100.96.0.1/32, 172.64.128.0/20, 10.20.0.0/16"
        (_, row) = await mesh.call("GET", f"{mesh.account}/devices/registrations")
        assert row["key"] == public_key_of(lines["PrivateKey"])
        assert lines["PrivateKey"] not in (tmp_path / "data" / "control.sqlite3").read_bytes().decode("latin-1")

        shown = await device("list")
        assert "phone" in shown
        assert "100.96.0.3" in shown
        await device("revoke", "phone")
        (_, row) = await mesh.call("GET", f"{mesh.account}/devices/registrations")
        assert row["revoked_at"] is not None
        await device("unrevoke", row["id"])
        assert "Deleted device phone" in await device("delete", "phone")
        assert "there are 0 devices" in await device("delete", "phone", code=1)
        assert "phone" not in await device("list")


async def test_a_device_without_private_names_keeps_its_resolver(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        device = Commands(mesh, tmp_path)
        await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "agent-01"})
        told = ["add", "laptop", "--token", "agent-01", "--endpoint", "2001:db8::1", "--network", "10.0.0.0/8"]
        made: Any = json.loads(await device(*told, "--no-dns", "-o", "json"))
        text = made["configuration"]
        assert "DNS" not in text
        assert "AllowedIPs = 10.0.0.0/8\nEndpoint = [2001:db8::1]:51820" in text


async def test_mistakes_are_told_before_a_device_is_made(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        device = Commands(mesh, tmp_path)
        taken = tmp_path / "taken"
        taken.touch()
        told = ("add", "phone", "--token", "nobody", "--endpoint", "edge.example")
        assert "give NAME" in await device("add", "phone", code=255)
        assert "cannot be written" in await device(*told, "--file", str(taken), code=1)
        assert "no network" in await device(*told, "--network", "x", code=1)
        fresh = tmp_path / "fresh"
        assert "no service token" in await device(*told, "--file", str(fresh), code=1)
        assert not fresh.exists()
