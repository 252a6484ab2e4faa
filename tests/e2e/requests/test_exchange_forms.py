"""What every form of the request seam must do, the edge's end and the connector's together: over data streams in memory
and on either QUIC engine, and over HTTP/2. What travels is known to the forms alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyconnector.connector.link.http2.session import Http2Session
from pyconnector.connector.link.quic.data_streams import DataStreams
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.connector.requests.exchange import Exchange as ServedExchange
from pyconnector.edge.connectors.exchange import Broken, Exchange, Refused, TunnelRequest
from pyconnector.edge.connectors.http2.session import Http2ConnectorSession
from pyconnector.edge.connectors.quic.session import QuicConnectorSession
from pyconnector.origins.base import RequestKind
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.transport.errors import TransportError
from pyconnector.transport.memory import memory_pair
from tests.support.loop.suspensions import cancel_everywhere
from tests.transport.pairs.http2_pair import http2_pair

if TYPE_CHECKING:
    from pyconnector.edge.connectors.session import ConnectorSession

FORMS = ("memory", "aioquic", "qh3", "http2")
PATIENCE = 30.0
HEAD = RequestHead("PUT", "app.test:81", "/a%2Fb?c", [(b"X-A", b"1"), (b"X-B", b"\xff"), (b"X-A", b"2")], 5)

Script = Callable[[ServedExchange], Awaitable[None]]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path, each_loop: str) -> Callable[[], Any]:
    """Open two joined connections, the connector's first."""
    name = str(request.param)
    if name == "qh3":
        pytest.importorskip("qh3", reason="the extra `fast` is not installed")

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Any, Any]]:
        if name == "memory":
            yield memory_pair()
        elif name == "http2":
            async with http2_pair(tmp_path) as (edge, connector):
                yield connector, edge
        elif name == "qh3":
            from tests.transport.pairs.qh3_pair import qh3_pair

            async with qh3_pair() as (client, server):
                yield client, server
        else:
            from tests.transport.pairs.aioquic_pair import aioquic_pair

            async with aioquic_pair() as (client, server):
                yield client, server

    return pair


class Member:
    """Who the edge's end counts its requests at."""

    in_flight = 0


class House:
    """Both ends of one connection, with a script in place of rules and origins."""

    def __init__(self, session: ConnectorSession, over_http2: bool) -> None:
        self.session = session
        self.over_http2 = over_http2
        self.member = Member()

    async def ask(self, request: TunnelRequest, *, body: bytes = b"", finish: bool = False) -> Exchange:
        return await self.session.open(cast("Any", self.member), request, body=body, finish=finish)

    async def settled(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.session.transport.statistics().streams_open:
                await asyncio.sleep(0.001)
        assert self.member.in_flight == 0


@contextlib.asynccontextmanager
async def play(form: Callable[[], Any], script: Script) -> AsyncIterator[House]:
    """Serve every request by `script`; the block is the edge."""

    class Path_:
        async def serve(self, exchange: ServedExchange) -> None:
            try:
                await script(exchange)
            except BaseException:
                exchange.abort()
                raise

    async def nothing(*_: object) -> None: ...

    async with form() as (connector, edge):
        path, log = cast("Any", Path_()), Log("request")
        session: ConnectorSession
        if hasattr(connector, "open_request"):
            served = Http2Session(
                connector, path, orchestrator=cast("Any", None), counters=Counters(), rpc_timeout=5.0, log=log
            )
            served.serve()
            session = Http2ConnectorSession(edge)
        else:
            streams = DataStreams(path, serve_rpc=nothing, log=log)
            connector.set_stream_handler(streams.accept)
            session = QuicConnectorSession(edge)
        yield House(session, hasattr(connector, "open_request"))


async def read(reader: Any) -> bytes:
    pieces = []
    while piece := await asyncio.wait_for(reader.receive(65_536), PATIENCE):
        pieces.append(piece)
    return b"".join(pieces)


async def body_of(exchange: Exchange) -> bytes:
    return exchange.leftover + await read(exchange.body)


async def ended(exchange: Exchange) -> None:
    """As visitors do: the stream has a moment to end too."""
    assert await asyncio.wait_for(exchange.stream.receive(), PATIENCE) == b""
    exchange.stream.stop()
    exchange.close()


def http(**more: Any) -> TunnelRequest:
    return TunnelRequest(kind=ConnectionType.HTTP, head=HEAD, **more)


async def test_a_request_and_its_answer_come_whole(form: Callable[[], Any]) -> None:
    async def script(exchange: ServedExchange) -> None:
        request = exchange.request()
        assert (request.kind, request.method, request.target, request.host) == (
            RequestKind.HTTP, "PUT", "/a%2Fb?c", "app.test:81",
        )  # fmt: skip
        assert request.headers == HEAD.headers
        assert request.body_length == 5
        assert await read(exchange.body) == b"hello"
        exchange.respond(299, [(b"Set-Cookie", b"a"), (b"X-Raw", b"\xfe"), (b"Set-Cookie", b"b")])
        exchange.finish(b"answer")

    async with play(form, script) as house:
        exchange = await house.ask(http(), body=b"hel")
        assert house.member.in_flight == 1
        exchange.stream.send_nowait(b"lo", finish=True)
        response = await exchange.response()
        assert response.status == 299
        assert response.headers == [(b"Set-Cookie", b"a"), (b"X-Raw", b"\xfe"), (b"Set-Cookie", b"b")]
        assert await body_of(exchange) == b"answer"
        await ended(exchange)
        await house.settled()


async def test_trailers_follow_where_they_are_taken(form: Callable[[], Any]) -> None:
    async def script(exchange: ServedExchange) -> None:
        exchange.respond(200, [])
        exchange.send_nowait(b"bo")
        exchange.finish(b"dy", [(b"X-Sum", b"42")])

    async with play(form, script) as house:
        for takes in (True, False):
            exchange = await house.ask(http(takes_trailers=takes), body=b"hello", finish=True)
            await exchange.response()
            assert await body_of(exchange) == b"body"
            assert exchange.trailers == ([(b"X-Sum", b"42")] if takes else [])
            await ended(exchange)
        await house.settled()


@pytest.mark.parametrize("limited", [False, True])
async def test_a_failure_has_its_status(form: Callable[[], Any], limited: bool) -> None:
    async def script(exchange: ServedExchange) -> None:
        exchange.fail("the cellar is flooded", 504, rate_limited=limited)

    async with play(form, script) as house:
        exchange = await house.ask(http(), body=b"hello", finish=True)
        with pytest.raises(Refused) as caught:
            await exchange.response()
        assert caught.value.status == 504
        assert house.over_http2 or str(caught.value) == "the cellar is flooded"
        exchange.abort()
        await house.settled()


async def test_what_cannot_be_carried_can_still_be_failed(form: Callable[[], Any]) -> None:
    async def script(exchange: ServedExchange) -> None:
        with pytest.raises(ProtocolError):
            exchange.respond(200, [(b"X", b"a\r\nb")])
        exchange.fail("it cannot be carried")

    async with play(form, script) as house:
        exchange = await house.ask(http(), body=b"hello", finish=True)
        with pytest.raises(Refused):
            await exchange.response()
        exchange.abort()
        await house.settled()


@pytest.mark.parametrize("kind", [ConnectionType.TCP, ConnectionType.WEBSOCKET])
async def test_a_tunnel_carries_bytes_both_ways_and_ends_each_way_alone(
    form: Callable[[], Any], kind: ConnectionType
) -> None:
    async def script(exchange: ServedExchange) -> None:
        request = exchange.request()
        if kind is ConnectionType.TCP:
            assert (request.kind, request.destination) == (RequestKind.TCP, "10.0.0.1:22")
            exchange.acknowledge()
        else:
            assert (request.kind, request.body_length) == (RequestKind.WEBSOCKET, None)
            exchange.respond(101, [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")], tunnel=True)
        exchange.flush()
        received = b""
        while piece := await exchange.body.receive(65_536):
            received += piece
            if exchange.send_nowait(piece.upper()):
                await exchange.drain()
        exchange.finish(b"; that was %d" % len(received))

    async with play(form, script) as house:
        head = None if kind is ConnectionType.TCP else HEAD
        exchange = await house.ask(TunnelRequest(kind=kind, head=head, destination="10.0.0.1:22"))
        assert (await exchange.response()).status == (0 if kind is ConnectionType.TCP else 101)
        await exchange.stream.send(b"hello")
        assert exchange.leftover + await exchange.stream.receive() == b"HELLO"
        exchange.leftover = b""
        exchange.stream.finish()
        assert await body_of(exchange) == b"; that was 5"
        await ended(exchange)
        await house.settled()


async def test_large_bodies_pass_each_other(form: Callable[[], Any]) -> None:
    size = 3_000_000

    async def script(exchange: ServedExchange) -> None:
        exchange.respond(200, [])
        while piece := await exchange.body.receive(65_536):
            if exchange.send_nowait(piece):
                await exchange.drain()
        exchange.finish()

    async with play(form, script) as house:
        head = RequestHead("POST", "a", "/", [], size)
        exchange = await house.ask(TunnelRequest(kind=ConnectionType.HTTP, head=head))

        async def upload() -> None:
            for _ in range(size // 50_000):
                await exchange.stream.send(bytes(50_000))
            exchange.stream.finish()

        uploading = asyncio.ensure_future(upload())
        await exchange.response()
        assert len(await body_of(exchange)) == size
        await uploading
        await ended(exchange)
        await house.settled()


@pytest.mark.parametrize("answered", [False, True])
async def test_what_the_connector_breaks_off_is_noticed(form: Callable[[], Any], answered: bool) -> None:
    go_on = asyncio.Event()

    async def script(exchange: ServedExchange) -> None:
        if answered:
            exchange.respond(200, [])
            if exchange.send_nowait(b"half"):
                await exchange.drain()
            await go_on.wait()
        exchange.abort()

    async with play(form, script) as house:
        exchange = await house.ask(http(), body=b"hello", finish=True)
        if answered:
            assert (await exchange.response()).status == 200
            assert exchange.leftover or await exchange.body.receive(100)
            go_on.set()
            with pytest.raises(TransportError):
                await body_of(exchange)
        else:
            with pytest.raises(Broken):
                await exchange.response()
        exchange.abort()
        await house.settled()


@pytest.mark.parametrize("finish", [False, True])
async def test_whoever_leaves_cancels_what_runs_for_it(form: Callable[[], Any], finish: bool) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def script(exchange: ServedExchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with play(form, script) as house:
        exchange = await house.ask(http(), body=b"hello"[: 5 if finish else 2], finish=finish)
        await asyncio.wait_for(begun.wait(), PATIENCE)
        exchange.abort()
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
        await house.settled()


@pytest.mark.parametrize("kind", [ConnectionType.HTTP, ConnectionType.WEBSOCKET, ConnectionType.TCP])
async def test_an_exchange_can_be_cancelled_anywhere(form: Callable[[], Any], kind: ConnectionType) -> None:
    running = 0

    async def script(exchange: ServedExchange) -> None:
        nonlocal running
        running += 1
        try:
            if kind is ConnectionType.TCP:
                exchange.acknowledge()
            else:
                switched = kind is ConnectionType.WEBSOCKET
                exchange.respond(101 if switched else 200, [], tunnel=switched)
            exchange.flush()
            while piece := await exchange.body.receive(65_536):
                if exchange.send_nowait(piece):
                    await exchange.drain()
            exchange.finish()
        finally:
            running -= 1

    async with play(form, script) as house:

        async def visit() -> None:
            head = None if kind is ConnectionType.TCP else HEAD
            exchange = await house.ask(TunnelRequest(kind=kind, head=head, destination="10.0.0.1:22"), body=b"hel")
            try:
                await exchange.response()
                await exchange.stream.send(b"lo")
                exchange.stream.finish()
                assert await body_of(exchange) == b"hello"
                await ended(exchange)
            except BaseException:
                exchange.abort()
                raise

        async def check() -> None:
            await house.settled()
            async with asyncio.timeout(PATIENCE):
                while running:
                    await asyncio.sleep(0.001)

        assert await cancel_everywhere(visit, check) >= 2
        await visit()
