"""Identity end to end, for HTTP, WebSocket and stream rules: what passes, what does not, and what the origin sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from pyconnector.connector.observe.access_log import AccessLog
from pyconnector.origins.layers.access import key_cache
from tests.support.houses.house import House, open_house
from tests.support.identity.access import AUDIENCE, TEAM, Team, unsigned
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, Response, get
from tests.support.wire.access_log import Records

if TYPE_CHECKING:
    from pyconnector.connector.observe.observer import Observer

ACME = Team(now=time.time())
ACCESS = {"required": True, "teamName": TEAM, "audTag": [AUDIENCE]}
OTHER_AUDIENCE = "c0ffee" * 8
FORGED = "Cf-Access-Authenticated-User-Email: admin@acme.example"
GOOD = ACME.token()

#: Of the connectors of a test.
OBSERVERS: list[Observer] = []


@pytest.fixture
def log() -> Iterator[Records]:
    records = Records()
    OBSERVERS.append(AccessLog(records))
    yield records
    OBSERVERS.clear()


@dataclass
class Endpoint:
    """The team's key endpoint, as the connector asks it."""

    answer: bytes | Exception = field(default_factory=ACME.document)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Scene:
    house: House
    endpoint: Endpoint
    heads: list[list[str]]
    "Header lines of what reached an HTTP or WebSocket origin."
    echoed: list[bytes]
    "What reached the TCP service."
    tcp_address: str

    async def ask(self, token: bytes | None = None, *lines: str, host: str = "app.test", path: str = "/") -> Response:
        if token is not None:
            lines = (f"Cf-Access-Jwt-Assertion: {token.decode()}", *lines)
        async with RawVisitor(self.house.edge.visitor_address) as visitor:
            return await visitor.request(get(path, host, *lines))

    def connect(self, host: str, token: bytes | None = None, *more: tuple[str, str]) -> connect:
        address, port = self.house.edge.visitor_address
        fields = [*([("Cf-Access-Jwt-Assertion", token.decode())] if token is not None else []), *more]
        return connect(f"ws://{host}/", host=address, port=port, additional_headers=fields, proxy=None)

    def emails(self) -> list[str]:
        """The e-mail headers of the last request, however their names are spelt."""
        named = [line.replace("_", "-").lower() for line in self.heads[-1]]
        return [line.partition(": ")[2] for line in named if line.startswith("cf-access-authenticated-user-email:")]


@contextlib.asynccontextmanager
async def scene(
    endpoint: Endpoint | None = None, *, access: Any = ACCESS, engine: str = "aioquic"
) -> AsyncIterator[Scene]:
    """One service of each kind behind `access` of the top level, which some rules replace with their own."""
    endpoint = endpoint or Endpoint()
    heads: list[list[str]] = []
    echoed: list[bytes] = []

    async def http(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                heads.append((await peer.head()).decode("latin-1").split("\r\n")[1:-2])
                peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def messages(connection: ServerConnection) -> None:
        assert connection.request is not None
        heads.append([f"{name}: {value}" for name, value in connection.request.headers.raw_items()])
        async for message in connection:
            await connection.send(message)

    async def echo(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await peer.reader.read(65536):
                echoed.append(data)
                peer.writer.write(data)

    async with raw_origin(http) as web, raw_origin(echo) as tcp, serve(messages, "127.0.0.1", 0) as sockets:
        service, tcp_address = f"http://127.0.0.1:{web.port}", f"127.0.0.1:{tcp.port}"
        ws_port = next(iter(sockets.sockets)).getsockname()[1]
        other = {"access": {**ACCESS, "audTag": [OTHER_AUDIENCE]}}
        rules: list[dict[str, Any]] = [
            {"hostname": "open.test", "service": service, "originRequest": {"access": {"required": False}}},
            {"hostname": "other.test", "service": service, "originRequest": other},
            {"hostname": "shop.test", "path": "^/admin", "service": service},
            {"hostname": "shop.test", "service": service, "originRequest": {"access": {"required": False}}},
            {"hostname": "db.test", "service": f"tcp://{tcp_address}"},
            {"hostname": "ws.test", "service": f"ws://127.0.0.1:{ws_port}"},
            {"service": service},
        ]
        top: dict[str, Any] = {"originRequest": {"access": access}} if access else {}
        options: dict[str, Any] = {"fetch_access_keys": endpoint.fetch, "observers": OBSERVERS}
        async with open_house(rules, engine=engine, connector_options=options, **top) as house:
            yield Scene(house, endpoint, heads, echoed, tcp_address)


# -- who passes ----------------------------------------------------------------------------------------------------


async def test_a_user_passes_and_the_origin_sees_the_verified_address(engine: str, log: Records) -> None:
    async with scene(engine=engine) as here:
        assert (await here.ask(GOOD)).status == 200
        assert here.emails() == ["dev@acme.example"]
        assert here.endpoint.asked == [f"https://{TEAM}.cloudflareaccess.com/cdn-cgi/access/certs"]
    (record,) = log.fields
    assert (record["identityKind"], record["identity"]) == ("user", "dev@acme.example")
    assert (record["status"], record["rule"], record["host"]) == (200, 6, "app.test")


async def test_a_service_token_passes_without_an_address(log: Records) -> None:
    token = ACME.token(sub="", email=None, common_name="5d3c.access")

    async with scene() as here:
        assert (await here.ask(token, FORGED)).status == 200
        assert here.emails() == []
    assert (log.fields[0]["identityKind"], log.fields[0]["identity"]) == ("service", "5d3c.access")


async def test_both_algorithms_pass(engine: str) -> None:
    async with scene(engine=engine) as here:
        for key in (ACME.rsa, ACME.ec):
            assert (await here.ask(ACME.token(key=key))).status == 200


async def test_a_websocket_passes_with_a_token(engine: str, log: Records) -> None:
    async with scene(engine=engine) as here:
        async with here.connect("ws.test", GOOD, ("Cf-Access-Authenticated-User-Email", "x@y")) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert here.emails() == ["dev@acme.example"]
        await asyncio.sleep(0)
    assert (log.fields[0]["kind"], log.fields[0]["status"]) == ("websocket", 101)
    assert log.fields[0]["identity"] == "dev@acme.example"


async def test_a_stream_rule_passes_with_a_token(engine: str) -> None:
    async with scene(engine=engine) as here, here.connect("db.test", GOOD) as client:
        await client.send(b"query")
        assert await client.recv() == b"query"


# -- who does not --------------------------------------------------------------------------------------------------

CLAIMS = {
    "iss": f"https://{TEAM}.cloudflareaccess.com",
    "aud": [AUDIENCE],
    "exp": time.time() + 3600,
    "type": "app",
    "sub": "1",
}
STRANGERS = Team(now=time.time())
OTHER = ACME.token(sub="2")
REFUSED: dict[str, tuple[bytes | None, str]] = {
    "none": (None, "carries no Access token"),
    "empty": (b"", "carries no Access token"),
    "rubbish": (b"rubbish", "malformed"),
    "expired": (ACME.token(exp=time.time() - 120), "expired"),
    "not begun": (ACME.token(nbf=time.time() + 3600), "not valid yet"),
    "without an end": (ACME.token(exp=None), "expired"),
    "for another application": (ACME.token(aud=[OTHER_AUDIENCE]), "another application"),
    "of another team": (ACME.token(iss="https://evil.cloudflareaccess.com"), "another team"),
    "of a login page": (ACME.token(type="org"), "not an application token"),
    "of nobody": (ACME.token(sub="", email=None), "names nobody"),
    "alg none": (unsigned({"alg": "none", "kid": "rsa-1"}, CLAIMS), "not signed with RS256 or ES256"),
    "alg HS256": (unsigned({"alg": "HS256", "kid": "rsa-1"}, CLAIMS), "not signed with RS256 or ES256"),
    "signed by a stranger": (STRANGERS.token(), "signature is wrong"),
    "with an unknown key": (STRANGERS.token(header={"kid": "x"}), "its team does not publish"),
    "with another's signature": (GOOD[:-43] + OTHER[-43:], "signature is wrong"),
    "oversized": (ACME.token(padding="x" * 20_000), "too large"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_a_bad_token_is_a_403_with_its_reason_in_the_logs(
    what: str, log: Records, caplog: pytest.LogCaptureFixture
) -> None:
    token, reason = REFUSED[what]

    async with scene() as here:
        answer = await here.ask(token)
        assert (answer.status, answer.body) == (403, b"")
        if token is None or len(token) < 3000:
            with pytest.raises(InvalidStatus) as refused:
                async with here.connect("ws.test", token):
                    pass
            assert refused.value.response.status_code == 403
            with pytest.raises(InvalidStatus) as refused:
                async with here.connect("db.test", token):
                    pass
            assert refused.value.response.status_code == 403
        assert (here.heads, here.echoed) == ([], [])
    assert log.fields
    for record in log.fields:
        assert record["status"] == 403
        assert record["refused"].startswith("access refused: ")
        assert reason in record["refused"]
        assert "identity" not in record
    assert len([line for line in caplog.messages if reason in line]) == len(log.fields)
    if token:
        assert token.decode() not in repr(log.fields)
        assert token.decode() not in caplog.text


async def test_no_spelling_of_host_and_path_gets_past_access() -> None:
    async with scene() as here:
        for host in ("shop.test", "SHOP.test", "shop.test.", "Shop.Test."):
            for path in ("/admin", "//admin", "/x/../admin", "/%2fadmin", "/;x/admin", "/Admin", "/%61dmin"):
                assert (await here.ask(host=host, path=path)).status == 403, (host, path)
                assert (await here.ask(GOOD, host=host, path=path)).status == 200, (host, path)
            assert (await here.ask(host=host, path="/open/page")).status == 200
        assert len(here.heads) == 4 * 8


async def test_two_tokens_are_refused_even_where_one_is_good() -> None:
    async with scene() as here:
        for second in (GOOD.decode(), "x"):
            assert (await here.ask(GOOD, f"cf-access-jwt-assertion: {second}")).status == 403
        assert here.heads == []


async def test_a_tcp_visitor_without_a_token_reaches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pyconnector"):
        async with scene() as here:
            port = await here.house.edge.add_tcp_port("db.test")
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                visitor.send(b"query")
                with contextlib.suppress(ConnectionError):
                    assert await visitor.reader.read() == b""
            assert here.echoed == []
    assert "A TCP visitor of db.test was refused (status 403): a rule that requires access asks" in caplog.text


# -- which rules ---------------------------------------------------------------------------------------------------


async def test_the_top_level_counts_for_every_rule_that_has_no_access_of_its_own() -> None:
    async with scene() as here:
        assert (await here.ask(host="app.test")).status == 403
        assert (await here.ask(host="any.other.test")).status == 403
        assert (await here.ask(host="open.test")).status == 200
        assert (await here.ask(GOOD, host="other.test")).status == 403
        assert (await here.ask(ACME.token(aud=OTHER_AUDIENCE), host="other.test")).status == 200
        assert (await here.ask(ACME.token(aud=OTHER_AUDIENCE), host="app.test")).status == 403


async def test_private_network_streams_meet_no_rule_and_no_access(log: Records) -> None:
    """As in the reference: who may reach an address is decided at the edge (docs/access.md)."""

    async with scene() as here:
        port = await here.house.edge.add_tcp_port(here.tcp_address)
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            visitor.send(b"query")
            assert await visitor.reader.readexactly(5) == b"query"
    (record,) = log.fields
    assert record["kind"] == "tcp"
    assert "identity" not in record


# -- forged identity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Cf-Access-Authenticated-User-Email",
        "cf-access-authenticated-user-email",
        "CF_ACCESS_AUTHENTICATED_USER_EMAIL",
        "Cf-Access_Authenticated-User_Email",
    ],
)
async def test_a_forged_address_never_reaches_the_origin(name: str) -> None:
    async with scene() as here:
        assert (await here.ask(GOOD, f"{name}: admin@acme.example", f"{name}: root@acme.example")).status == 200
        assert here.emails() == ["dev@acme.example"]


# -- keys ----------------------------------------------------------------------------------------------------------


async def test_rotated_keys_are_fetched_and_withdrawn_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_cache, "FETCH_INTERVAL", 0.0)

    async with scene() as here:
        assert (await here.ask(GOOD)).status == 200
        fresh = Team(now=time.time())
        token = fresh.token(key=fresh.ec, header={"kid": "ec-1"})
        assert (await here.ask(token)).status == 403
        here.endpoint.answer = fresh.document().replace(b'"ec-1"', b'"ec-2"').replace(b'"rsa-1"', b'"rsa-2"')
        assert (await here.ask(fresh.token(key=fresh.ec, header={"kid": "ec-2"}))).status == 200
        assert (await here.ask(ACME.token(sub="someone new"))).status == 403
        assert len(here.endpoint.asked) == 3


async def test_a_cold_cache_refuses_while_the_endpoint_is_down_and_serves_once_it_is_back(
    monkeypatch: pytest.MonkeyPatch, log: Records
) -> None:
    monkeypatch.setattr(key_cache, "FETCH_INTERVAL", 0.0)

    endpoint = Endpoint(OSError("connection refused"))
    async with scene(endpoint) as here:
        assert (await here.ask(GOOD)).status == 403
        with pytest.raises(InvalidStatus):
            async with here.connect("db.test", GOOD):
                pass
        assert (here.heads, here.echoed) == ([], [])
        endpoint.answer = ACME.document()
        assert (await here.ask(GOOD)).status == 200
    assert "keys cannot be fetched" in log.fields[0]["refused"]


async def test_a_warm_cache_serves_while_the_endpoint_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_cache, "KEYS_FRESH", 0.0)
    monkeypatch.setattr(key_cache, "FETCH_INTERVAL", 0.0)

    async with scene() as here:
        assert (await here.ask(GOOD)).status == 200
        here.endpoint.answer = OSError("connection refused")
        assert (await here.ask(ACME.token(sub="someone new"))).status == 200
        assert len(here.endpoint.asked) == 2
