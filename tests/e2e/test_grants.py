"""The story of docs/guide/files.md: one file for one agent, for a while, with a record of each read."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from pyconnector import Connector, Credentials
from pyconnector.connector.cli.commands import main
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.audit.files import log_files, read_log
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.settings import DirectorySettings
from pyconnector.protocol.tokens import decode_token
from tests.control.support import Mesh, open_mesh
from tests.support.houses.house import config_for
from tests.support.peers.raw_visitor import RawVisitor, Response, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST = "docs.example.com"
LARGE = 64 * 1024 * 1024


@dataclass
class Place:
    mesh: Mesh
    edge: LocalEdge
    agent: dict[str, Any]
    tmp_path: Path

    @property
    def access(self) -> str:
        return f"{self.mesh.account}/access"

    async def cli(self, *arguments: str) -> tuple[int, str]:
        data = self.tmp_path / "data"
        (data / "api-token").write_text(self.mesh.token + "\n")
        options = ["--origincert", str(data / "cert.pem"), "--api-url", self.mesh.plane.api_url]
        options += ["--api-token-file", str(data / "api-token")]
        config = ["--config", str(self.tmp_path / "config.yaml")] if "--to" in arguments else []
        done = await asyncio.to_thread(CliRunner().invoke, main, ["grant", *arguments, *config, *options])
        return done.exit_code, done.output

    async def granted(self, what: str, *more: str) -> dict[str, Any]:
        code, text = await self.cli(what, "--to", "agent-01", "--output", "json", *more)
        assert code == 0, text
        made: dict[str, Any] = json.loads(text)
        async with asyncio.timeout(30):
            while made["id"] not in self.edge.gate.state.grants:
                await asyncio.sleep(0.01)
        return made

    async def read(self, path: str, token: str = "", *lines: str, method: str = "GET") -> Response:
        shown = (f"Cf-Access-Token: {token}",) if token else ()
        async with RawVisitor(self.edge.visitor_address) as visitor:
            asked = get(path, HOST, *shown, *lines).replace(b"GET", method.encode(), 1)
            return await visitor.request(asked, head_only=method == "HEAD")


@asynccontextmanager
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "handbook.pdf").write_bytes(b"the handbook")
    (docs / "sub" / "other.txt").write_bytes(b"another")
    with (docs / "large").open("wb") as file:
        file.truncate(LARGE)
    rules = [{"hostname": HOST, "service": f"files:{docs}"}, {"service": "http_status:404"}]
    (tmp_path / "config.yaml").write_text(json.dumps({"ingress": rules}))
    async with open_mesh(tmp_path / "data") as mesh:
        tunnel = await mesh.tunnel()
        await mesh.call(
            "PUT", f"{mesh.zone}/tunnels/{tunnel['id']}/routes", json={"type": "dns", "user_hostname": HOST}
        )
        agent = await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "agent-01"})
        directory = DirectorySettings(url=mesh.plane.url, token=mesh.plane.edge_token_file.read_text().strip())
        audit = AuditSettings(directory=tmp_path / "audit")
        async with LocalEdge(EdgeSettings(control=None, directory=directory, audit=audit)) as edge:
            shown = decode_token(tunnel["token"])
            credentials = Credentials(account_tag=shown.account_tag, tunnel_id=shown.tunnel_id, secret=shown.secret)
            config = replace(config_for(edge, rules), credentials=credentials)
            async with Connector(config) as connector:
                await connector.wait_ready(1)
                yield Place(mesh, edge, agent, tmp_path)


async def guard(where: Place) -> None:
    """Let an application stand for the host that lets nobody pass."""
    body = {"name": "nobody", "decision": "non_identity", "include": [{"role": {"role": "nobody"}}]}
    policy = await where.mesh.call("POST", f"{where.access}/policies", json=body)
    body = {"name": "docs", "type": "self_hosted", "domain": HOST, "policies": [policy["id"]]}
    await where.mesh.call("POST", f"{where.access}/apps", json=body)
    async with asyncio.timeout(30):
        while not where.edge.gate.state.applications.of_host(HOST):
            await asyncio.sleep(0.01)


async def test_a_grant_lets_one_agent_read_one_file_and_nothing_else(tmp_path: Path) -> None:
    async with place(tmp_path) as where:
        code, text = await where.cli(f"files:{tmp_path}/docs/handbook.pdf", "--to", "agent-01")
        assert "everybody may read it" in text, text
        assert code == 1
        await guard(where)
        made = await where.granted(f"files:{tmp_path}/docs/handbook.pdf")
        assert made["url"] == f"https://{HOST}/handbook.pdf"
        token = made["token"]
        read = await where.read("/handbook.pdf", token)
        assert (read.status, read.body) == (200, b"the handbook")
        assert (await where.read("/handbook.pdf", token, "Range: bytes=4-7")).body == b"hand"
        assert (await where.read("/handbook.pdf", token, method="HEAD")).status == 200
        refused = {
            "no token": await where.read("/handbook.pdf"),
            "another path": await where.read("/sub/other.txt", token),
            "another spelling": await where.read("/handbook.pdf/../sub/other.txt", token),
            "the directory": await where.read("/", token),
            "another method": await where.read("/handbook.pdf", token, method="DELETE"),
            "its own secret": await where.read("/handbook.pdf", "", *own(where)),
        }
        assert {why: response.status for why, response in refused.items()} == {
            "no token": 401, "another path": 403, "another spelling": 403, "the directory": 403,
            "another method": 403, "its own secret": 403,
        }  # fmt: skip
        code, text = await where.cli("--list")
        assert made["id"] in text
        assert "agent-01" in text
        assert token not in text
        below = await where.granted(f"https://{HOST}/sub", "--for", "2h")
        assert (await where.read("/sub/other.txt", below["token"])).body == b"another"
        assert (await where.read("/handbook.pdf", below["token"])).status == 403
    records = [link.record for _, link in read_log(log_files(tmp_path / "audit")) if "URL" in link.record]
    reads = [record for record in records if record.get("GrantID") == made["id"]]
    assert [(record["URL"], record["Reason"], record["ServiceTokenName"]) for record in reads] == [
        ("/handbook.pdf", "granted", "agent-01")
    ] * 3
    assert len(records) == 3 + len(refused) + 2
    assert token not in json.dumps(records)


async def test_the_end_of_a_grant_cuts_off_a_running_download(tmp_path: Path) -> None:
    async with place(tmp_path) as where:
        await guard(where)
        for end in (revoked, expired, disabled, revoked_though_allowed, denied):
            made = await where.granted(f"files:{tmp_path}/docs/large", "--for", "10m")
            async with RawVisitor(where.edge.visitor_address) as visitor:
                visitor.send(get("/large", HOST, f"Cf-Access-Token: {made['token']}"))
                assert (await visitor.head()).status == 200
                await end(where, made)
                async with asyncio.timeout(15):
                    while len(where.edge.gate.running):  # else the end of the file might end it
                        await asyncio.sleep(0.01)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await visitor.reader.readexactly(LARGE)
            assert (await where.read("/large", made["token"])).status in (401, 403), end
            where.edge.gate.clock = time.time
            await enabled(where, enabled=True)


async def revoked(where: Place, made: dict[str, Any]) -> None:
    assert (await where.cli("--revoke", made["id"]))[0] == 0


async def expired(where: Place, made: dict[str, Any]) -> None:
    where.edge.gate.clock = lambda: time.time() + 601


async def disabled(where: Place, made: dict[str, Any]) -> None:
    await enabled(where, enabled=False)


async def enabled(where: Place, *, enabled: bool) -> None:
    path = f"{where.access}/service_tokens/{where.agent['id']}"
    await where.mesh.call("PUT", path, json={"enabled": enabled})


async def revoked_though_allowed(where: Place, made: dict[str, Any]) -> None:
    """A policy lets the agent pass anyway by now; what runs under the grant's token ends with it."""
    await decided(where, "non_identity")
    async with asyncio.timeout(30):
        while (await where.read("/handbook.pdf", "", *own(where))).status != 200:
            await asyncio.sleep(0.05)
    assert len(where.edge.gate.running) == 1
    await revoked(where, made)


async def denied(where: Place, made: dict[str, Any]) -> None:
    await decided(where, "deny")


async def decided(where: Place, decision: str) -> None:
    body = {"name": decision, "decision": decision, "include": [{"any_valid_service_token": {}}]}
    policy = await where.mesh.call("POST", f"{where.access}/policies", json=body)
    [app] = await where.mesh.call("GET", f"{where.access}/apps")
    body = {"name": "docs", "type": "self_hosted", "domain": HOST, "policies": [policy["id"]]}
    await where.mesh.call("PUT", f"{where.access}/apps/{app['id']}", json=body)


def own(where: Place) -> tuple[str, str]:
    client_id, secret = where.agent["client_id"], where.agent["client_secret"]
    return f"CF-Access-Client-Id: {client_id}", f"CF-Access-Client-Secret: {secret}"


async def test_grants_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async with place(tmp_path) as where:
        await guard(where)
        for arguments, why in (
            (("files:/elsewhere/x", "--to", "agent-01"), "serves /elsewhere/x"),
            ((f"files:{tmp_path}/docs/x", "--to", "nobody"), "no service token 'nobody'"),
            ((f"files:{tmp_path}/docs/x", "--to", "agent-01", "--for", "1s"), "lasts 60 seconds to 7 days"),
            ((f"files:{tmp_path}/docs/x", "--to", "agent-01", "--for", "soon"), "no duration"),
            ((f"files:{tmp_path}/docs/a/../x", "--to", "agent-01"), "makes no sense"),
            (("docs/x", "--to", "agent-01"), "files:/FILE"),
            ((f"https://{HOST}/x?y", "--to", "agent-01"), "no address of a file"),
            (("--revoke", "nonsense"), "no id of a grant"),
            (("--revoke", "6ff42ae2-765d-4adf-8112-31c55c1551ef"), "no grant of that id"),
            (("--list", "--revoke", "x"), "give WHAT --to TOKEN"),
            ((), "give WHAT --to TOKEN"),
        ):
            code, text = await where.cli(*arguments)
            assert code != 0, arguments
            assert why in text, arguments
        assert (await where.cli("--list")) == (0, "There are no grants.\n")
