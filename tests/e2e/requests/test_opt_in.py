"""The keys that the reference has not, each with the upstream issue's own example: through edge and connector."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from pyconnector.connector.observe.access_log import AccessLog
from pyconnector.origins.layers.failover import FailoverOrigin
from pyconnector.origins.layers.rewriting import RewritingOrigin
from tests.support.houses.house import House, open_house
from tests.support.peers.raw_origin import Peer, Script, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, Response, get
from tests.support.wire.access_log import Records


@pytest.fixture
def records() -> Records:
    return Records()


def saying(text: bytes, *fields: bytes) -> bytes:
    head = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(text), text)


def noting(heads: list[str], answer: bytes) -> Script:
    """A script that answers every request of a connection, and keeps its head."""

    async def script(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append((await peer.reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                peer.writer.write(answer)

    return script


def rules_of(text: str, ports: dict[str, int]) -> list[dict[str, Any]]:
    """The rules of an example, its services on the ports that the test has."""
    for written, port in ports.items():
        assert written in text, written
        text = text.replace(written, f"127.0.0.1:{port}")
    rules: list[dict[str, Any]] = yaml.safe_load(text)["ingress"]
    return rules


async def ask(house: House, path: str = "/", host: str = "app.test", *lines: str) -> Response:
    async with RawVisitor(house.edge.visitor_address) as visitor:
        return await visitor.request(get(path, host, *lines))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def targets(heads: list[str]) -> list[str]:
    return [head.split(" ")[1] for head in heads]


def fields_of(head: str) -> list[str]:
    return head.split("\r\n")[1:-2]


# -- paths ---------------------------------------------------------------------------------------------------------


async def test_563_a_service_under_a_path_and_subdirectories_to_services_of_their_own(engine: str) -> None:
    text = r"""
    ingress:
      - hostname: nas.test
        service: http://192.168.178.1
        originRequest:
          addPathPrefix: /nas
      - hostname: subdomain.domain.com
        path: ^/subdir1/
        service: http://localhost:3001
        originRequest: {stripPathPrefix: /subdir1}
      - hostname: subdomain.domain.com
        path: ^/subdir2/(.*)$
        service: http://localhost:3002
        originRequest:
          rewritePath: [{match: ^/subdir2/(.*)$, replace: /$1}]
      - service: http_status:404
    """

    nas: list[str] = []
    one: list[str] = []
    two: list[str] = []
    async with (
        raw_origin(noting(nas, saying(b"nas"))) as first,
        raw_origin(noting(one, saying(b"one"))) as second,
        raw_origin(noting(two, saying(b"two"))) as third,
    ):
        ports = {"192.168.178.1": first.port, "localhost:3001": second.port, "localhost:3002": third.port}
        async with open_house(rules_of(text, ports), engine=engine) as house:
            assert (await ask(house, "/films%2F?page=2", "nas.test")).body == b"nas"
            assert (await ask(house, "/subdir1/a%20b?c=%2F", "subdomain.domain.com")).body == b"one"
            assert (await ask(house, "/subdir2/a/b?c", "subdomain.domain.com")).body == b"two"
            assert (await ask(house, "/subdir3/", "subdomain.domain.com")).status == 404
    assert (targets(nas), targets(one), targets(two)) == (["/nas/films%2F?page=2"], ["/a%20b?c=%2F"], ["/a/b?c"])


async def test_408_rewrites_and_redirects_like_those_of_nginx() -> None:
    text = r"""
    ingress:
      - service: http://localhost:8080
        originRequest:
          rewritePath:
            - {match: '^/\.well-known/host-meta$', replace: "/public.php?service=host-meta"}
            - {match: '^/\.well-known/webfinger$', replace: "/public.php?service=webfinger"}
            - {match: '^/\.well-known/carddav$', replace: /remote.php/dav/, redirect: 301}
    """

    heads: list[str] = []
    async with raw_origin(noting(heads, saying(b"ok"))) as origin:
        async with open_house(rules_of(text, {"localhost:8080": origin.port})) as house:
            await ask(house, "/.well-known/host-meta")
            await ask(house, "/.well-known/webfinger?resource=acct:a@b")
            await ask(house, "/index.php")
            moved = await ask(house, "/.well-known/carddav")
    assert (moved.status, moved.field("Location"), moved.body) == (301, "/remote.php/dav/", b"")
    assert targets(heads) == [
        "/public.php?service=host-meta",
        "/public.php?service=webfinger&resource=acct:a@b",
        "/index.php",
    ]


# -- headers -------------------------------------------------------------------------------------------------------


async def test_795_and_1499_headers_are_changed_both_ways(engine: str) -> None:
    text = """
    ingress:
      - hostname: "*.example.com"
        service: http://localhost:8000
        originRequest:
          requestHeaders:
            set: {Authorization: Bearer ABCDS, X-API-Key: your-api-key}
            remove: [User-Agent, Cf-Connecting-Ip]
          responseHeaders:
            add: {Link: [a, b]}
            remove: [Server]
      - service: http_status:404
    """

    heads: list[str] = []
    async with raw_origin(noting(heads, saying(b"ok", b"Server: secret/1.0", b"X-Kept: 1"))) as origin:
        async with open_house(rules_of(text, {"localhost:8000": origin.port}), engine=engine) as house:
            lines = ("Authorization: Basic visitor", "User-Agent: curl", "x-api-key: forged")
            answer = await ask(house, "/", "a.example.com", *lines)
    names = [name.lower() for name, _ in answer.fields]
    assert "server" not in names
    assert [value for name, value in answer.fields if name == "Link"] == ["a", "b"]
    assert answer.field("X-Kept") == "1"
    (head,) = heads
    sent = fields_of(head)
    assert "Authorization: Bearer ABCDS" in sent
    assert "X-Api-Key: your-api-key" in sent or "X-API-Key: your-api-key" in sent
    for gone in ("basic visitor", "curl", "forged", "cf-connecting-ip"):
        assert gone not in head.lower(), gone


async def test_header_rules_hold_for_websockets_and_error_pages_too() -> None:
    options = {
        "requestHeaders": {"set": {"X-Env": "home"}},
        "responseHeaders": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
        "errorPage": {"status": 503, "body": "<h1>Back at nine</h1>"},
    }

    seen: list[str | None] = []

    async def echo(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers.get("X-Env"))
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        rules = [
            {"hostname": "up.test", "service": f"http://127.0.0.1:{port}", "originRequest": options},
            {"service": f"http://127.0.0.1:{closed_port()}", "originRequest": options},
        ]
        async with open_house(rules) as house:
            address, visitors = house.edge.visitor_address
            async with connect("ws://up.test/", host=address, port=visitors, proxy=None) as client:
                assert client.response is not None
                assert client.response.headers["X-Frame-Options"] == "DENY"
                assert "Server" not in client.response.headers
                await client.send("hi")
                assert await client.recv() == "hi"
            with pytest.raises(InvalidStatus) as refused:
                async with connect("ws://down.test/", host=address, port=visitors, proxy=None):
                    pass
            assert refused.value.response.status_code == 503
            page = await ask(house, "/", "down.test")
            assert (page.status, page.body) == (503, b"<h1>Back at nine</h1>")
            assert page.field("X-Frame-Options") == "DENY"
    assert seen == ["home"]


# -- PROXY protocol ------------------------------------------------------------------------------------------------


def announced_v1(data: bytes) -> tuple[str, bytes]:
    line, _, rest = data.partition(b"\r\n")
    _, family, source, _, _, _ = line.decode().split(" ")
    assert (line[:6], family) == (b"PROXY ", "TCP4")
    return source, rest


def announced_v2(data: bytes) -> tuple[str, bytes]:
    assert data.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")
    (length,) = struct.unpack("!H", data[14:16])
    return socket.inet_ntoa(data[16:20]), data[16 + length :]


@pytest.mark.parametrize(("version", "announced"), [("v1", announced_v1), ("v2", announced_v2)])
async def test_369_sshd_is_told_the_clients_address(
    version: str, announced: Callable[[bytes], tuple[str, bytes]], engine: str
) -> None:
    text = "{ingress: [{service: 'ssh://localhost:22', originRequest: {proxyProtocol: v2}}]}".replace("v2", version)

    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def sshd(peer: Peer) -> None:
        await received.put(await peer.rest())
        await peer.send(b"SSH-2.0-test\r\n")

    async with raw_origin(sshd) as origin:
        async with open_house(rules_of(text, {"localhost:22": origin.port}), engine=engine) as house:
            port = await house.edge.add_tcp_port("ssh.test")
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                visitor.send(b"SSH-2.0-client\r\n")
                visitor.writer.write_eof()
                assert await visitor.reader.read() == b"SSH-2.0-test\r\n"
            assert announced(await received.get()) == ("127.0.0.1", b"SSH-2.0-client\r\n")


# -- error page ----------------------------------------------------------------------------------------------------


async def test_an_error_page_stands_in_for_a_service_that_is_down(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, records: Records
) -> None:
    page = tmp_path / "down.html"
    page.write_text("<h1>back soon</h1>")

    async with raw_origin(answering(b"HTTP/1.1 500 Own\r\nContent-Length: 3\r\n\r\nown")) as origin:
        rules: list[dict[str, Any]] = [
            {"hostname": "up.test", "service": f"http://127.0.0.1:{origin.port}"},
            {"service": f"http://127.0.0.1:{closed_port()}"},
        ]
        top: dict[str, Any] = {"originRequest": {"errorPage": {"status": 503, "file": str(page)}}}
        options = {"observers": [AccessLog(records)]}
        async with open_house(rules, engine=engine, connector_options=options, **top) as house:
            down = await ask(house)
            assert (down.status, down.body) == (503, b"<h1>back soon</h1>")
            assert down.field("Content-Type") == "text/html; charset=utf-8"
            async with RawVisitor(house.edge.visitor_address) as visitor:
                head = await visitor.request(b"HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n", head_only=True)
                assert (head.status, head.field("Content-Length")) == (503, "18")
            own = await ask(house, "/", "up.test")
            assert (own.status, own.body) == (500, b"own"), "what a service says itself goes through"

            assert house.connector.statistics().request_errors == 2
    assert re.search(r"Unable to reach the origin service.*refused", caplog.text), "the log still says why"
    asked = [(fields["path"], fields["status"], "refused" in str(fields.get("error"))) for fields in records.fields]
    assert asked == [("/", 503, True), ("/", 503, True), ("/", 500, False)]


async def test_the_access_log_has_the_path_that_was_asked_for(records: Records) -> None:
    async with raw_origin(answering(saying(b"ok"))) as origin:
        rules = [{"service": f"http://127.0.0.1:{origin.port}", "originRequest": {"addPathPrefix": "/nas"}}]
        async with open_house(rules, connector_options={"observers": [AccessLog(records)]}) as house:
            await ask(house, "/films")
    assert [fields["path"] for fields in records.fields] == ["/films"]


# -- none of them --------------------------------------------------------------------------------------------------


async def test_a_config_with_none_of_these_keys_takes_the_direct_path() -> None:
    heads: list[str] = []
    async with raw_origin(noting(heads, saying(b"ok"))) as origin:
        service = f"http://127.0.0.1:{origin.port}"
        with_all = {"originRequest": {"addPathPrefix": "/x", "retryFor": "1s"}}
        rules: list[dict[str, Any]] = [
            {"hostname": "plain.test", "service": service},
            {"service": service} | with_all,
        ]
        async with open_house(rules) as house:
            plain, adjusted = (route.origin for route in house.connector._orchestrator.routes.routes)
            assert not isinstance(plain, RewritingOrigin | FailoverOrigin)
            assert isinstance(adjusted, RewritingOrigin)
            assert (await ask(house, "/a%2Fb", "plain.test")).body == b"ok"
    assert targets(heads) == ["/a%2Fb"]
