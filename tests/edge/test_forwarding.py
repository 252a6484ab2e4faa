"""A host goes on in one spelling, whatever the visitor's was."""

from __future__ import annotations

import pytest

from pyconnector.edge.visitors.forwarding import host_name, normal_host
from pyconnector.edge.visitors.http1.request_parser import HOST
from tests.edge.support import memory_edge
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        (b"admin.app.test", "admin.app.test"),
        (b"ADMIN.app.test", "admin.app.test"),
        (b"admin.app.test.", "admin.app.test"),
        (b"Admin.App.Test.:80", "admin.app.test"),
        (b"admin.app.test:", "admin.app.test"),
        (b"admin.app.test:0080", "admin.app.test"),
        (b"admin.app.test.:8080", "admin.app.test:8080"),
        (b"XN--MNCHEN-3YA.test", "xn--mnchen-3ya.test"),
        (b"[2001:DB8::1]:80", "[2001:db8::1]"),
        (b"[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
        (b"127.0.0.1:80", "127.0.0.1"),
    ],
)
def test_spellings_of_one_host_become_one(host: bytes, normal: str) -> None:
    assert HOST.fullmatch(host)
    assert normal_host(host) == normal
    assert host_name(host) == normal.removesuffix(":8080")


@pytest.mark.parametrize("host", [b"a..test", b".test", b"a.test..", b".", b"a" * 300, b"a." * 30_000, b"a.test:x"])
def test_hosts_that_nothing_can_be_named_are_refused(host: bytes) -> None:
    assert not HOST.fullmatch(host)


@pytest.mark.parametrize(
    "request_line",
    ["GET /p HTTP/1.1\r\nHost: ADMIN.app.test.:80", "GET http://ADMIN.App.test./p HTTP/1.1\r\nHost: other.test"],
)
async def test_rules_behind_the_tunnel_see_one_spelling(request_line: str) -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.answer(204)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(f"{request_line}\r\n\r\n".encode())).status == 204
            assert (await visitor.request(get("/", "a.test.."))).status == 400
        await connector.close()
    assert seen[0].value("HttpHost") == "admin.app.test"
    assert seen[0].request.dest == "http://admin.app.test/p"
