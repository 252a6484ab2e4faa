"""The story of docs/access-edge.md: agents with service tokens, from the control plane to service and record."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from pyconnector.connector.cli.commands import main
from pyconnector.edge.audit.files import log_files
from pyconnector.identity.access_token import AccessPolicy, parse_keys, verify
from tests.e2e.test_mesh import HOST, Api, connector, mesh_up, until
from tests.support.identity.agents import telling_origin
from tests.support.peers.raw_visitor import RawVisitor, Response, get


class Visits:
    """Visitors of a mesh."""

    def __init__(self, visitors: str) -> None:
        name, _, port = visitors.rpartition(":")
        self.address = (name, int(port))

    async def __call__(self, *lines: str, path: str = "/", method: str = "GET") -> Response:
        async with RawVisitor(self.address) as visitor:
            return await visitor.request(get(path, HOST, *lines).replace(b"GET", method.encode(), 1))


def shown(token: dict[str, Any]) -> tuple[str, str]:
    return (
        f"CF-Access-Client-Id: {token['client_id']}",
        f"CF-Access-Client-Secret: {token['client_secret']}",
    )


def reason(response: Response) -> tuple[int, str]:
    return response.status, json.loads(response.body)["reason"]


async def test_the_story(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async with telling_origin() as origin, mesh_up(data) as (mesh, told):
        api, visit = Api(told), Visits(told["visitors"])
        access = f"{api.account}/access"
        tunnel = await api("POST", f"{api.account}/cfd_tunnel", {"name": "story"})
        await api("PUT", f"{api.zone}/tunnels/{tunnel['id']}/routes", {"type": "dns", "user_hostname": HOST})
        agent = await api("POST", f"{access}/service_tokens", {"name": "agent-01-token"})
        await api("PUT", f"{access}/service_tokens/{agent['id']}", {"role": "reader"})
        writer = await api("POST", f"{access}/service_tokens", {"name": "agent-02", "role": "writer"})
        rules = [{"role": {"role": "reader"}}]
        body = {"name": "readers", "decision": "non_identity", "include": rules}
        policy = await api("POST", f"{access}/policies", body)
        body = {"name": "tool", "type": "self_hosted", "domain": HOST, "policies": [policy["id"]]}
        app = await api("POST", f"{access}/apps", body)
        async with connector(told, tunnel["token"], tmp_path, [{"service": origin}]) as running:

            async def serves() -> bool:
                return (await visit(*shown(agent))).status == 200

            await until(serves, "the agent's way to the service")
            assert reason(await visit()) == (401, "no_credentials")
            assert reason(await visit(*shown(writer))) == (403, "no_policy_matched")
            await identity_is_right(visit, agent, app)
            await the_connector_verifies_too(api, visit, tunnel, agent, app, origin)
            await session_is_narrow(visit, agent)
            await revocation_ends_what_runs(api, visit, f"{access}/service_tokens/{agent['id']}", agent)
            running.send_signal(signal.SIGTERM)
            await running.code()
        await api.client.aclose()
        mesh.send_signal(signal.SIGTERM)
        assert await mesh.code() == 0, mesh.text
        assert agent["client_secret"] not in mesh.text
    the_record_is_whole(data / "audit")


async def identity_is_right(visit: Visits, agent: dict[str, Any], app: dict[str, Any]) -> None:
    """The service can verify who asks, by the published keys alone."""
    got = json.loads((await visit(*shown(agent), path="/x?y=z")).body)
    assert got["line"] == "GET /x?y=z HTTP/1.1"
    headers = {name.lower(): value for name, value in got["headers"]}
    assert not [name for name in headers if name.startswith("cf-access-client")]
    document = (await visit(path="/cdn-cgi/access/certs")).body
    policy = AccessPolicy(issuer="https://access.mesh.test", keys_url="", audiences=frozenset({app["aud"]}))
    token = headers["cf-access-jwt-assertion"].encode()
    found = verify(token, policy=policy, keys=parse_keys(document), now=time.time())
    assert (found.kind, found.name, found.role) == ("service", agent["client_id"], "reader")


async def the_connector_verifies_too(
    api: Api, visit: Visits, tunnel: dict[str, Any], agent: dict[str, Any], app: dict[str, Any], origin: str
) -> None:
    """Rules of the connector that require access, of this mesh alone: the role decides which of them serves."""
    keys = "http://{}:{}/cdn-cgi/access/certs".format(*visit.address)
    demand = {"required": True, "issuer": "https://access.mesh.test", "keysUrl": keys, "audTag": [app["aud"]]}
    rules = [
        {"hostname": HOST, "path": "^/write$", "service": origin,
         "originRequest": {"access": {**demand, "allow": ["role:writer"]}}},
        {"hostname": HOST, "path": "^/mine$", "identity": ["name:agent-02"], "service": "http_status:500",
         "originRequest": {"access": demand}},
        {"hostname": HOST, "path": "^/mine$", "identity": ["name:agent-01-token"], "service": "http_status:410",
         "originRequest": {"access": demand}},
        {"hostname": HOST, "service": origin, "originRequest": {"access": {**demand, "allow": ["role:reader"]}}},
        {"service": "http_status:404"},
    ]  # fmt: skip
    path = f"{api.account}/cfd_tunnel/{tunnel['id']}/configurations"
    await api("PUT", path, {"config": {"ingress": rules}})

    async def in_force() -> bool:
        return (await visit(*shown(agent), path="/write")).status == 403

    await until(in_force, "the rules of the connector")
    assert (await visit(*shown(agent), path="/read")).status == 200
    assert (await visit(*shown(agent), path="/mine")).status == 410


async def session_is_narrow(visit: Visits, agent: dict[str, Any]) -> None:
    """A session token for GET is refused a POST."""
    made = await visit(*shown(agent), path="/cdn-cgi/access/session?methods=GET&seconds=300", method="POST")
    bearer = f"Authorization: Bearer {json.loads(made.body)['token']}"
    assert (await visit(bearer)).status == 200
    assert reason(await visit(bearer, method="POST")) == (403, "outside_of_session")


async def revocation_ends_what_runs(api: Api, visit: Visits, path: str, agent: dict[str, Any]) -> None:
    """The agent's WebSocket ends, and neither its secret nor what was issued for it counts any more."""
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    async with RawVisitor(visit.address) as visitor:
        visitor.send(get("/", HOST, *upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *shown(agent)))
        assert (await visitor.head()).status == 101
        visitor.send(b"still here")
        assert await visitor.reader.readexactly(10) == b"still here"

        async def seen() -> bool:
            return (await api("GET", path)).get("last_seen_at") is not None

        await until(seen, "the use of the token in the API")
        await api("DELETE", path)
        async with asyncio.timeout(20):  # a net; it takes some milliseconds
            try:
                assert await visitor.reader.read() == b""
            except ConnectionError:
                pass
    assert reason(await visit(*shown(agent))) == (401, "invalid_credentials")


def the_record_is_whole(directory: Path) -> None:
    """Everything is on record, and one changed byte is noticed."""
    result = CliRunner().invoke(main, ["audit", "verify", str(directory)])
    assert result.exit_code == 0, result.output
    found = CliRunner().invoke(main, ["audit", "search", str(directory), "--json"]).output.splitlines()
    rows = [json.loads(line) for line in found]
    reasons = {row["Reason"] for row in rows}
    assert {
        "no_credentials",
        "no_policy_matched",
        "policy_matched",
        "outside_of_session",
        "invalid_credentials",
    } <= reasons
    ended = [row["ConnectionCloseReason"] for row in rows if row["Protocol"] == "WEBSOCKET"]
    assert ended == ["REVOKED"]
    path = log_files(directory)[0]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"agent-01-token", b"agent-02-token", 1))
    assert CliRunner().invoke(main, ["audit", "verify", str(directory)]).exit_code == 1
