"""The same name leads a reading agent to a replica and a writing one to the primary; only verified tokens count."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support.houses.house import House, open_house
from tests.support.identity.access import AUDIENCE, TEAM, Team
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, Response, get

ACME = Team(now=time.time())
FORGER = Team(now=time.time())
ACCESS = {"required": True, "teamName": TEAM, "audTag": [AUDIENCE]}
HOST = "db.test"


def agent(team: Team = ACME, **custom: Any) -> bytes:
    return team.token(sub="", email=None, common_name="5d3c.access", custom=custom)


@dataclass
class Endpoint:
    """The team's key endpoint, which may be away."""

    answer: bytes | OSError = field(default_factory=ACME.document)

    async def fetch(self, url: str) -> bytes:
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@contextlib.asynccontextmanager
async def house(endpoint: Endpoint, **options: Any) -> AsyncIterator[House]:
    """A primary for writers, a replica for readers and people of one address, a public page for all the others."""

    def named(name: bytes) -> Any:
        async def serve(peer: Peer) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await peer.head()
                    peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))

        return serve

    async def stream(peer: Peer) -> None:
        peer.writer.write(b"primary's stream")

    async with (
        raw_origin(named(b"primary")) as primary, raw_origin(named(b"replica")) as replica,
        raw_origin(named(b"public")) as public, raw_origin(stream) as streams,
    ):  # fmt: skip
        need = {"access": ACCESS}
        rules: list[dict[str, Any]] = [
            {"hostname": HOST, "path": "^/health$", "service": f"http://127.0.0.1:{public.port}"},
            {"hostname": HOST, "identity": ["role:writer"], "service": f"http://127.0.0.1:{primary.port}",
             "originRequest": need},
            {"hostname": HOST, "identity": ["role:reader", "email:dev@acme.example"],
             "service": f"http://127.0.0.1:{replica.port}", "originRequest": need},
            {"hostname": "tcp.test", "identity": ["name:agent-01"], "service": f"tcp://127.0.0.1:{streams.port}",
             "originRequest": need},
            {"hostname": "tcp.test", "service": "http_status:410"},
            {"service": f"http://127.0.0.1:{public.port}"},
        ]  # fmt: skip
        options = {"fetch_access_keys": endpoint.fetch, **options}
        async with open_house(rules, connector_options=options) as here:
            yield here


async def ask(here: House, token: bytes = b"", *lines: str, path: str = "/") -> Response:
    shown = (f"Cf-Access-Jwt-Assertion: {token.decode()}",) if token else ()
    async with RawVisitor(here.edge.visitor_address) as visitor:
        return await visitor.request(get(path, HOST, *shown, *lines))


async def led(here: House, token: bytes = b"", *lines: str, path: str = "/") -> bytes:
    return (await ask(here, token, *lines, path=path)).body


async def test_one_name_leads_two_agents_to_two_services() -> None:
    async with house(Endpoint()) as here:
        assert await led(here, agent(role="writer")) == b"primary"
        assert await led(here, agent(role="reader")) == b"replica"
        assert await led(here, ACME.token()) == b"replica"
        assert await led(here, agent(role="owner")) == await led(here) == b"public"
        assert await led(here, agent(role="writer"), path="/health") == b"public"


async def test_only_a_verified_token_says_who_asks() -> None:
    writer: dict[str, Any] = {"sub": "", "email": None, "common_name": "x", "custom": {"role": "writer"}}
    claimed = ("Cf-Access-Role: writer", "Cf-Access-Authenticated-User-Email: dev@acme.example")

    async with house(Endpoint()) as here:
        for token in (
            agent(FORGER, role="writer"),
            ACME.token(**writer, aud=["another application"]),
            ACME.token(**writer, exp=ACME.now - 3600),
            ACME.token(**writer, iss="https://other.cloudflareaccess.com"),
            ACME.token(**writer, type="org"),
            ACME.token(**(writer | {"sub": "somebody"})),
        ):
            assert await led(here, token, *claimed) == b"public"
        assert await led(here, b"", *claimed) == b"public"
        cookie = f"Cookie: CF_Authorization={agent(role='writer').decode()}"
        assert await led(here, b"", cookie) == b"public"


async def test_two_tokens_lead_nowhere() -> None:
    async with house(Endpoint()) as here:
        second = f"cf-access-jwt-assertion: {agent(role='reader').decode()}"
        found = await ask(here, agent(role="writer"), second)
        assert (found.status, found.body) == (403, b"")


async def test_without_keys_a_token_leads_nowhere_and_nobody_else_is_held_up(caplog: pytest.LogCaptureFixture) -> None:
    async with house(Endpoint(OSError("away"))) as here:
        assert (await ask(here, agent(role="writer"))).status == 403
        assert await led(here) == b"public"
        assert await led(here, agent(role="writer"), path="/health") == b"public"
    assert "access refused: the team's keys cannot be fetched" in caplog.text


async def test_streams_are_led_by_who_asks_too() -> None:
    async with house(Endpoint()) as here:
        address, port = here.edge.visitor_address
        fields = [("Cf-Access-Jwt-Assertion", agent(name="agent-01").decode())]
        opened = connect("ws://tcp.test/", host=address, port=port, additional_headers=fields, proxy=None)
        async with asyncio.timeout(20), opened as socket:
            assert await socket.recv() == b"primary's stream"
        async with RawVisitor(here.edge.visitor_address) as visitor:
            token = f"Cf-Access-Jwt-Assertion: {agent(name='agent-02').decode()}"
            upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            assert (await visitor.request(get("/", "tcp.test", token, *upgrade, key))).status == 410
