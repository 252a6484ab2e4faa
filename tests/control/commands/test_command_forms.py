"""`--output json|yaml` of every account command, and what a shell completes for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from pyconnector.connector.cli.commands import main
from pyconnector.protocol.tokens import decode_token
from tests.control.support import Mesh, open_mesh


class Commands:
    """`tunnel` commands in this process, beside the control plane."""

    def __init__(self, mesh: Mesh) -> None:
        self.environment = {"TUNNEL_API_URL": mesh.plane.api_url, "TUNNEL_ORIGIN_CERT": str(mesh.plane.cert_pem)}

    async def run(self, *arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, main, ["tunnel", *arguments], env=self.environment)

    async def json(self, *arguments: str) -> Any:
        done = await self.run(*arguments, "--output", "json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    async def offered(self, *arguments: str) -> list[str]:
        """What a shell offers in place of the last argument."""

        def complete() -> list[str]:
            found = ShellComplete(main, {}, "pyconnector", "_C").get_completions(
                ["tunnel", *arguments[:-1]], arguments[-1]
            )
            return [item.value for item in found]

        with pytest.MonkeyPatch.context() as patched:
            for name, value in self.environment.items():
                patched.setenv(name, value)
            return await asyncio.to_thread(complete)


@contextlib.asynccontextmanager
async def with_commands(tmp_path: Path) -> AsyncIterator[tuple[Mesh, Commands]]:
    async with open_mesh(tmp_path / "data") as mesh:
        yield mesh, Commands(mesh)


async def test_every_command_has_a_form_for_programs(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        home = await tunnel.json("create", "home")
        assert (await tunnel.json("list"))[0]["id"] == home["id"]
        assert (await tunnel.json("info", "home"))["conns"] == []
        token = (await tunnel.json("token", "home"))["token"]
        assert decode_token(token) == decode_token(home["token"])
        file = str(tmp_path / "c.json")
        assert (await tunnel.json("token", "--cred-file", file, "home")) == {"credentials_file": file}
        assert (await tunnel.json("route", "dns", "home", "app")) == {
            "tunnel_id": home["id"], "name": "app.example.com", "cname": "new",
        }  # fmt: skip
        vnet = await tunnel.json("vnet", "add", "lab", "for tests")
        assert (vnet["name"], vnet["comment"], vnet["is_default_network"]) == ("lab", "for tests", False)
        assert (await tunnel.json("vnet", "update", "-c", "other", "lab"))["comment"] == "other"
        assert {row["name"] for row in await tunnel.json("vnet", "list")} == {"default", "lab"}
        route = await tunnel.json("route", "ip", "add", "--vnet", "lab", "10.1.2.0/16", "home")
        assert (route["network"], route["virtual_network_id"]) == ("10.1.0.0/16", vnet["id"])
        assert (await tunnel.json("route", "ip", "get", "--vnet", "lab", "10.1.9.9"))["id"] == route["id"]
        assert (await tunnel.json("route", "ip", "get", "10.1.9.9")) is None
        assert (await tunnel.json("route", "ip", "show"))[0]["id"] == route["id"]
        as_yaml = (await tunnel.run("route", "ip", "get", "--vnet", "lab", "10.1.9.9", "-o", "yaml")).stdout
        assert yaml.safe_load(as_yaml)["tunnelname"] == "home"
        assert (await tunnel.json("route", "ip", "delete", "--vnet", "lab", "10.1.0.0/16")) == {"id": route["id"]}
        assert (await tunnel.json("vnet", "delete", "lab")) == {"id": vnet["id"]}
        assert (await tunnel.json("cleanup", "home")) == [{"id": home["id"], "error": ""}]
        credentials = mesh.plane.cert_pem.parent / f"{home['id']}.json"
        assert credentials.exists()
        refused = await tunnel.run("delete", "home", "--output", "xml")
        assert (refused.exit_code, refused.stderr) == (1, "Unknown output format 'xml'\n")
        assert credentials.exists()
        assert (await tunnel.json("delete", "home")) == [{"id": home["id"], "name": "home"}]
        # Where `create` left it, which is no usual place.
        assert not credentials.exists()


async def test_load_balancers_are_asked_for_and_refused_here(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (_, tunnel):
        await tunnel.json("create", "home")
        for arguments, sentence, code in (
            (("home", "lb.example.com", "pool"), "there are no load balancers", 1),
            (("home", "lb.example.com", "po ol"), "po ol is not a valid pool name", 1),
            (("home", "no host", "pool"), "no host is not a valid load balancer name", 1),
            (("home", "lb.example.com"), "See 'pyconnector route lb --help'", 255),
        ):
            done = await tunnel.run("route", "lb", *arguments)
            assert (done.exit_code, sentence in done.stderr) == (code, True), done.stderr


async def test_a_shell_completes_names_of_the_account(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        home = await mesh.tunnel("home")
        await mesh.call("PUT", f"{mesh.zone}/tunnels/{home['id']}/routes",
                        json={"type": "dns", "user_hostname": "app"})  # fmt: skip
        await mesh.call("POST", f"{mesh.account}/teamnet/routes",
                        json={"network": "10.9.0.0/16", "tunnel_id": home["id"]})  # fmt: skip
        assert await tunnel.offered("info", "") == ["home"]
        assert await tunnel.offered("info", home["id"][:5]) == [home["id"]]
        assert await tunnel.offered("info", "home", "") == []
        assert await tunnel.offered("delete", "other", "ho") == ["home"]
        assert await tunnel.offered("run", "") == ["home"]
        assert await tunnel.offered("route", "dns", "home", "") == ["app.example.com"]
        assert await tunnel.offered("route", "ip", "add", "10.0.0.0/8", "") == ["home"]
        assert await tunnel.offered("route", "ip", "delete", "10") == ["10.9.0.0/16"]
        assert await tunnel.offered("route", "ip", "get", "--vnet", "d") == ["default"]
        assert await tunnel.offered("vnet", "update", "") == ["default"]
        # Without an API the credentials on this machine say which tunnels there are.
        known, tunnel.environment["TUNNEL_API_URL"] = uuid4(), "http://127.0.0.1:9"
        (mesh.plane.cert_pem.parent / f"{known}.json").touch()
        (mesh.plane.cert_pem.parent / "config.json").touch()
        assert await tunnel.offered("info", str(known)[:3]) == [str(known)]
        assert await tunnel.offered("vnet", "delete", "") == []


async def test_network_rules_are_added_listed_and_deleted(tmp_path: Path) -> None:
    async with with_commands(tmp_path) as (mesh, tunnel):
        agent = await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "agent"})
        token = tmp_path / "api-token"
        token.write_text(mesh.token)
        made = await tunnel.json(
            "rule", "add", "allow", "--name", "databases", "--token", "agent", "--network", "10.9.0.0/16", "--port",
            "5432", "--port", "8000-8999", "--api-token-file", str(token),
        )  # fmt: skip
        assert (made["tokens"], made["ports"]) == ([agent["client_id"]], ["5432", "8000-8999"])
        first = await tunnel.json("rule", "add", "block", "--private-name", "*.corp", "--precedence", "1", "--disabled")
        assert (first["names"], first["enabled"]) == (["*.corp"], False)
        assert [row["id"] for row in await tunnel.json("rule", "list")] == [first["id"], made["id"]]
        assert "10.9.0.0/16" in (await tunnel.run("rule", "list")).stdout
        assert await tunnel.json("rule", "delete", "databases") == {"id": made["id"]}
        assert [row["id"] for row in await mesh.call("GET", f"{mesh.account}/network_rules")] == [first["id"]]
        for arguments, told in (
            (("add", "permit"), "allow or block"), (("delete", "databases"), "no network rule databases"),
            (("add", "allow", "--network", "10.0.0.1/8"), "is no network"),
        ):  # fmt: skip
            failed = await tunnel.run("rule", *arguments)
            assert failed.exit_code == 1
            assert told in failed.output
