"""Revocation reaches three edges of two control planes, which share one PostgreSQL, and ends what runs there.

Everywhere by being told: nobody's next look at the database would come in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.api.routes.edges import MAX_WAIT
from pyconnector.control.store import feed
from pyconnector.edge.directory import client
from pyconnector.identity.people.person import Person, application_claims, subject_of
from tests.control.edges.test_edges import until
from tests.control.edges.test_many_edges import joined, knows, serving
from tests.control.support import Mesh, open_mesh
from tests.support.peers.raw_visitor import RawVisitor, get

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge

WEB, DATABASE = "app.example.com", "db.example.com"
UPGRADE = (
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)  # fmt: skip


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A WebSocket service to who asks for one, else plain bytes: both come back."""
    with contextlib.suppress(ConnectionError):
        first = await reader.read(65536)
        if first.startswith(b"GET "):
            first = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        while first:
            writer.write(first)
            await writer.drain()
            first = await reader.read(65536)
    writer.close()


def shown(token: dict[str, Any]) -> tuple[str, ...]:
    return (f"CF-Access-Client-Id: {token['client_id']}", f"CF-Access-Client-Secret: {token['client_secret']}")


def persons_token(edge: LocalEdge, account: str, email: str, provider: str, audience: str) -> str:
    """What a login at an edge ends in."""
    issuer, now = edge.gate.issuer, edge.gate.clock()
    assert issuer is not None
    person = Person(
        subject=subject_of(account, email), email=email, provider=provider, nonce="a" * 32, begun=round(now, 3)
    )
    claims = application_claims(person, issuer=issuer.issuer, audience=audience, now=now, seconds=3600, binding="")
    return issuer.sign(claims).decode()


@contextlib.asynccontextmanager
async def streams(edges: tuple[LocalEdge, ...], *lines: str) -> AsyncIterator[list[RawVisitor]]:
    """A WebSocket and a TCP stream through each edge, in use."""
    async with contextlib.AsyncExitStack() as stack:
        visitors = []
        for edge in edges:
            for host in (WEB, DATABASE):
                visitor = await stack.enter_async_context(RawVisitor(edge.visitor_address))
                visitor.send(get("/", host, *UPGRADE, *lines))
                assert (await visitor.head()).status == 101
                # A masked frame of two bytes: the TCP service gets them bare and sends them back in a frame.
                visitor.send(b"\x82\x82\0\0\0\0hi")
                assert (await visitor.reader.readexactly(4))[-2:] in (b"hi", b"\0\0")
                visitors.append(visitor)
        yield visitors


async def all_end(visitors: list[RawVisitor]) -> None:
    async with asyncio.timeout(MAX_WAIT - 10):
        for visitor in visitors:
            with contextlib.suppress(ConnectionError):
                await visitor.reader.read()


async def guarded(mesh: Mesh) -> dict[str, Any]:
    """Both names, for any service token and for Ann; what was made."""
    access = f"{mesh.account}/access"
    provider = await mesh.call(
        "POST", f"{access}/identity_providers", json={"name": "PIN", "type": "onetimepin", "config": {}}
    )
    agents = {"name": "agents", "decision": "non_identity", "include": [{"any_valid_service_token": {}}]}
    people = {"name": "people", "decision": "allow", "include": [{"email": {"email": "ann@example.com"}}]}
    policies = [(await mesh.call("POST", f"{access}/policies", json=body))["id"] for body in (agents, people)]
    places = [{"type": "public", "uri": WEB}, {"type": "public", "uri": DATABASE}]
    body = {"name": "both", "type": "self_hosted", "destinations": places, "policies": policies}
    app = await mesh.call("POST", f"{access}/apps", json=body)
    token = await mesh.call("POST", f"{access}/service_tokens", json={"name": "agent"})
    return {"provider": provider["id"], "aud": app["aud"], "token": token}


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_what_runs_ends_at_every_edge(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_AGAIN", 3600.0)
    monkeypatch.setattr(client, "WAIT", MAX_WAIT)  # no edge asks again before the test has given up

    service = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    rules = [
        {"hostname": WEB, "service": f"http://127.0.0.1:{port}"},
        {"hostname": DATABASE, "service": f"tcp://127.0.0.1:{port}"},
        {"service": "http_status:404"},
    ]
    async with (
        service, open_mesh(tmp_path / "a", database) as mesh,
        open_mesh(tmp_path / "b", database, mesh.token) as second,
        joined(mesh) as one, joined(mesh) as two, joined(second) as three,
    ):  # fmt: skip
        edges = (one, two, three)
        made = await mesh.tunnel("t")
        for name in (WEB, DATABASE):
            body = {"type": "dns", "user_hostname": name}
            await mesh.call("PUT", f"{mesh.zone}/tunnels/{made['id']}/routes", json=body)
        known = await guarded(mesh)
        async with serving(one, made["token"], rules):
            for edge in edges:
                await until(lambda edge=edge: len(edge.gate.state.tokens) == 1, "the service token")  # type: ignore[misc]  # bound at once
            for edge in (two, three):
                await knows(edge, made["id"])
            async with streams(edges, *shown(known["token"])) as running:
                await second.call("DELETE", f"{mesh.account}/access/service_tokens/{known['token']['id']}")
                await all_end(running)
            account = mesh.plane.installation.account_id
            email = "ann@example.com"
            person = f"Cf-Access-Token: {persons_token(one, account, email, known['provider'], known['aud'])}"
            async with streams(edges, person) as running:
                # Logged out at the third edge: which tells its control plane, and that the others.
                async with RawVisitor(three.visitor_address) as visitor:
                    told = await visitor.request(get("/cdn-cgi/access/logout", WEB, person))
                    assert told.status == 200
                await all_end(running)
            async with RawVisitor(two.visitor_address) as visitor:
                assert (await visitor.request(get("/", WEB, person))).status == 401
