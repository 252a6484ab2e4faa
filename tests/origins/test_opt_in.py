"""What the opt-in keys of a rule do to real requests: config in, bytes at a scripted service out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pyconnector.ingress import parse_ingress
from pyconnector.origins.base import Origin, OriginError, RequestKind
from pyconnector.origins.layers import compose
from pyconnector.origins.layers.failover import FailoverOrigin
from pyconnector.origins.net.offered_body import MAX_REPLAY
from tests.origins.support import OK_HI, get, read_all
from tests.support.peers.raw_origin import Peer, RawOrigin, raw_origin
from tests.support.wire.bodies import Body


@contextlib.asynccontextmanager
async def origin_of(service: str, **options: Any) -> AsyncIterator[Origin]:
    """The origin of a rule, as a config would make it."""
    config = {"ingress": [{"service": service, "originRequest": options}]}
    rule = parse_ingress(config).rules[0]
    origin = compose.origin_of(rule)
    await origin.start()
    try:
        yield origin
    finally:
        await origin.close()


async def hi(peer: Peer) -> None:
    await peer.head()
    await peer.send(OK_HI)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def play(scenario: Callable[[RawOrigin], Awaitable[None]], *scripts: Callable[[Peer], Awaitable[None]]) -> None:
    async with raw_origin(*scripts) as server, asyncio.timeout(30):
        await scenario(server)


def url(server: RawOrigin) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_a_prefix_is_stripped_and_the_query_stays() -> None:
    async def scenario(server: RawOrigin) -> None:
        async with origin_of(url(server), stripPathPrefix="/app") as origin:
            await read_all(await origin.serve(get("/app/a%20b?x=%2F"), Body()))
        assert server.peers[0].received.startswith(b"GET /a%20b?x=%2F HTTP/1.1\r\n")

    await play(scenario, hi)


async def test_a_rewrite_with_redirect_never_asks_the_service() -> None:
    async def scenario(server: RawOrigin) -> None:
        options = {"rewritePath": [{"match": "^/old/(.*)$", "replace": "/new/$1", "redirect": 301}]}
        async with origin_of(url(server), **options) as origin:
            response = await origin.serve(get("/old/page?q=1"), Body())
        assert response.status == 301
        assert (b"Location", b"/new/page?q=1") in response.headers
        assert not server.peers

    await play(scenario)


async def test_headers_are_changed_in_both_directions() -> None:
    async def scenario(server: RawOrigin) -> None:
        options = {
            "requestHeaders": {"set": {"X-Env": "home"}, "remove": ["X-Secret"]},
            "responseHeaders": {"add": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
        }
        async with origin_of(url(server), **options) as origin:
            response = await origin.serve(get("/", (b"X-Secret", b"1"), (b"X-Env", b"cloud")), Body())
            await read_all(response)
        assert b"X-Secret" not in server.peers[0].received
        assert server.peers[0].received.count(b"X-Env: home\r\n") == 1
        assert response.headers == [(b"Content-Length", b"2"), (b"X-Frame-Options", b"DENY")]

    async def with_server(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nContent-Length: 2\r\n\r\nhi")

    await play(scenario, with_server)


async def test_an_error_page_stands_in_for_a_service_that_is_down(tmp_path: Path) -> None:
    page = tmp_path / "down.html"
    page.write_text("<h1>back soon</h1>")

    service = f"http://127.0.0.1:{closed_port()}"
    async with origin_of(service, errorPage={"status": 503, "file": str(page)}) as origin:
        response = await origin.serve(get(), Body())
        assert response.status == 503
        assert await read_all(response) == b"<h1>back soon</h1>"
        head = await origin.serve(get(method="HEAD"), Body())
        assert await read_all(head) == b""


async def test_a_missing_error_page_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OriginError, match="cannot be read"):
        async with origin_of("http://127.0.0.1:1", errorPage={"file": str(tmp_path / "none.html")}):
            pass


async def test_a_bad_request_is_not_shown_as_a_service_that_is_down() -> None:
    async with origin_of(f"http://127.0.0.1:{closed_port()}", errorPage={"body": "down"}) as origin:
        with pytest.raises(OriginError) as caught:
            await origin.serve(get("/a b"), Body())
        assert caught.value.status == 400


async def test_the_next_backend_serves_when_the_first_refuses_even_a_post() -> None:
    async def scenario(server: RawOrigin) -> None:
        async with origin_of(f"http://127.0.0.1:{closed_port()}", backends=[url(server)]) as origin:
            response = await origin.serve(get("/", method="POST", length=5), Body(b"hello"))
            assert await read_all(response) == b"hi"
        assert server.peers[0].received.endswith(b"\r\n\r\nhello")

    async def take_five(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(5)
        await peer.send(OK_HI)

    await play(scenario, take_five)


async def test_a_post_that_a_service_saw_is_not_sent_to_another() -> None:
    async def scenario(server: RawOrigin) -> None:
        async with raw_origin(hi) as other, origin_of(url(server), backends=[url(other)]) as origin:
            with pytest.raises(OriginError):
                await origin.serve(get("/", method="POST", length=5), Body(b"hello"))
            assert not other.peers

    async def take_and_close(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(5)

    await play(scenario, take_and_close)


async def test_a_get_goes_to_the_next_backend_when_the_first_breaks_off() -> None:
    async def scenario(server: RawOrigin) -> None:
        async with raw_origin(hi) as other, origin_of(url(server), backends=[url(other)]) as origin:
            assert await read_all(await origin.serve(get(), Body())) == b"hi"

    async def close(peer: Peer) -> None:
        await peer.head()

    await play(scenario, close)


async def test_round_robin_takes_turns() -> None:
    async def scenario(server: RawOrigin) -> None:
        async with raw_origin(hi) as other:
            options = {"backends": [url(other)], "balance": "round-robin"}
            async with origin_of(url(server), **options) as origin:
                for _ in range(2):
                    await read_all(await origin.serve(get(), Body()))
            assert len(server.peers) == len(other.peers) == 1

    await play(scenario, hi)


async def test_a_request_waits_while_its_service_restarts() -> None:
    port = closed_port()
    async with asyncio.timeout(30), origin_of(f"http://127.0.0.1:{port}", retryFor="5s") as origin:
        serving = asyncio.ensure_future(origin.serve(get("/", method="POST", length=2), Body(b"ab")))
        await asyncio.sleep(0.12)  # at least one refusal
        assert not serving.done()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"ab")
            writer.write(OK_HI)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        assert await read_all(await serving) == b"hi"
        server.close()
        await server.wait_closed()


async def test_waiting_ends() -> None:
    async with origin_of(f"http://127.0.0.1:{closed_port()}", retryFor="100ms") as origin:
        async with asyncio.timeout(30):
            with pytest.raises(OriginError, match="refused"):
                await origin.serve(get(), Body())


async def test_health_checks_leave_a_sick_service_out_and_take_it_back() -> None:
    state = {"status": b"500 Sick"}
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head.split(b" ")[1])
                status = state["status"] if head.startswith(b"GET /health ") else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: 1\r\n\r\nA" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    first = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    check = {"path": "/health", "interval": "100ms", "timeout": "1s", "unhealthyAfter": 1}

    async def hi_for_ever(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await peer.head()
                await peer.send(OK_HI)

    async with raw_origin(*[hi_for_ever] * 8) as other, asyncio.timeout(30):
        options = {"backends": [url(other)], "healthCheck": check}
        async with origin_of(f"http://127.0.0.1:{port}", **options) as origin:

            async def served_by(wanted: bytes) -> None:
                while (await read_all(await origin.serve(get("/page"), Body()))) != wanted:
                    await asyncio.sleep(0.01)

            await served_by(b"hi")
            state["status"] = b"200 OK"
            await served_by(b"A")
        first.close()
        await first.wait_closed()
    assert b"/health" in seen


@pytest.mark.parametrize(
    ("version", "header"),
    [("v1", b"PROXY TCP4 203.0.113.9 127.0.0.1 0 "), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09")],
)
async def test_a_stream_service_is_told_the_visitors_address(version: str, header: bytes) -> None:
    async def scenario(server: RawOrigin) -> None:
        service = f"tcp://127.0.0.1:{server.port}"
        async with origin_of(service, proxyProtocol=version) as origin:
            request = get("/", (b"Cf-Connecting-Ip", b"203.0.113.9"), kind=RequestKind.WEBSOCKET, length=None)
            response = await origin.serve(request, Body(end=False))
            await asyncio.wait_for(done.wait(), 30)
            response.abort()
        assert server.peers[0].received.startswith(header)

    done = asyncio.Event()

    async def read(peer: Peer) -> None:
        await peer.some()
        done.set()

    await play(scenario, read)


async def test_a_body_is_kept_only_so_far() -> None:
    async with raw_origin(hi) as other, asyncio.timeout(30):
        async with origin_of(f"http://127.0.0.1:{closed_port()}", backends=[url(other)]) as origin:
            big = bytes(MAX_REPLAY * 2)
            body = Body(big)
            response = await origin.serve(get("/", method="POST", length=len(big)), body)
            response.abort()


async def test_what_the_top_level_says_of_http_means_nothing_to_a_stream() -> None:
    async def scenario(server: RawOrigin) -> None:
        top = {
            "errorPage": {"body": "down"},
            "rewritePath": [{"match": "^/", "replace": "/x", "redirect": 301}],
            "healthCheck": {"path": "/health", "interval": "100ms"},
        }
        config = {"originRequest": top, "ingress": [{"service": f"tcp://127.0.0.1:{server.port}"}]}
        rule = parse_ingress(config).rules[0]
        origin = compose.origin_of(rule)
        assert isinstance(origin, FailoverOrigin)
        await origin.start()
        while not server.peers:
            await asyncio.sleep(0.005)
        response = await origin.serve(get(kind=RequestKind.WEBSOCKET, length=None), Body(end=False))
        assert response.status == 101
        response.abort()
        await origin.close()
        assert not any(peer.received for peer in server.peers), "a check connects, and says nothing"

    async def listen(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            await peer.some()

    await play(scenario, listen)


def test_a_rule_without_opt_in_keys_is_served_directly() -> None:
    rule = parse_ingress({"ingress": [{"service": "http://127.0.0.1:1"}]}).rules[0]
    assert type(compose.origin_of(rule)).__name__ == "HttpOrigin"
