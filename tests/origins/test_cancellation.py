"""Cancelled at any point of an exchange, before and after what it waits for has come: nothing is left open.

After each run the pool holds only what is open and unused, the service sees no other connection, and a request that
comes later is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from h2 import events
from h2.errors import ErrorCodes

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.rules.ip_rules import IpRule, parse_prefix
from pyconnector.origins.base import Origin, OriginRequest, RequestKind
from pyconnector.origins.build import ALPN_HTTP2
from pyconnector.origins.http1 import HttpOrigin
from pyconnector.origins.http2 import Http2Origin
from pyconnector.origins.layers.failover import FailoverOrigin
from pyconnector.origins.net.dial import Dialer, DialSettings, Endpoint, Target
from pyconnector.origins.net.tls import TlsClient, TlsContexts
from pyconnector.origins.tcp.private import PrivateTcpOrigin
from pyconnector.origins.tcp.socks import SocksOrigin
from pyconnector.origins.tcp.stream import StreamOrigin
from pyconnector.web.websocket import frames
from tests.origins.support import OK_HEAD, OK_HI, get, read_all, until
from tests.support.identity.certificates import Authority
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.peers.frames import masked
from tests.support.peers.h2_origin import H2Server, h2_server
from tests.support.peers.raw_origin import RawOrigin, raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from tests.support.peers.raw_origin import Peer

pytestmark = pytest.mark.usefixtures("each_loop")

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
KEY = (b"Sec-Websocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
LOOPBACK = (IpRule(prefix=parse_prefix("127.0.0.0/8"), allow=True),)
SETTINGS = OriginSettings(connect_timeout=5.0)


async def exchange(origin: Origin, request: OriginRequest, body: Body) -> bytes:
    """Serve a request and read its answer, as the request path does."""
    response = await origin.serve(request, body)
    try:
        if not response.tunnel:
            return await read_all(response)
        data = await response.receive()
        await response.finish()
        return data
    except BaseException:
        response.abort()
        raise


def idle_connections(origin: Origin) -> int:
    pool = origin._pool if isinstance(origin, HttpOrigin) else None
    if pool is None:
        return 0
    waiting = [connection for idle in pool._idle.values() for connection in idle]
    assert not any(connection.is_closed or connection._turn for connection in waiting)
    assert len(waiting) == pool.idle_count
    return pool.idle_count


async def cancel_at_each_point(
    origin: Origin, server: RawOrigin, make: Callable[[], tuple[OriginRequest, Body]]
) -> int:
    async def check() -> None:
        await until(lambda: len(server.running) == idle_connections(origin))
        async with asyncio.timeout(30):
            await exchange(origin, *make())
        await until(lambda: len(server.running) == idle_connections(origin))

    return await cancel_everywhere(lambda: exchange(origin, *make()), check)


def http(server: RawOrigin, *, tls: ssl.SSLContext | None = None, targets: int = 1) -> HttpOrigin:
    async def resolve(host: str, port: int) -> list[Target]:
        await asyncio.sleep(0)
        return [(socket.AF_INET, ("127.0.0.1", port))] * targets

    client = TlsClient(context=tls) if tls else None
    return HttpOrigin(
        Endpoint(host="app.test", port=server.port),
        SETTINGS,
        make_dialer=lambda: Dialer(DialSettings(connect_timeout=5.0), tls=client, resolve=resolve),
    )


async def answer_whole(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await peer.send(OK_HI)


async def answer_in_pieces(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await peer.exactly(6)
            await peer.send(OK_HEAD + b"Content-Length: 4\r\n\r\n", b"ab", b"cd")


async def answer_once(peer: Peer) -> None:
    """Claim to stay and leave: the next request finds a connection that is gone."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await peer.head()
        await peer.send(OK_HI)
        await peer.head()


async def upgrade(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await peer.head()
        await peer.send(SWITCHING, b"hello")
        await peer.closed_after_rest()


async def greet(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        await peer.send(b"hello")
        await peer.closed_after_rest()


@contextlib.asynccontextmanager
async def opened(origin: Origin) -> AsyncIterator[Origin]:
    await origin.start()
    try:
        yield origin
    finally:
        await origin.close()


@pytest.mark.parametrize("targets", [1, 3])
async def test_http1_requests_can_be_cancelled_anywhere(targets: int) -> None:
    async with raw_origin(answer_whole) as server, opened(http(server, targets=targets)) as origin:
        assert await cancel_at_each_point(origin, server, lambda: (get(), Body())) >= 1


async def test_http1_first_requests_can_be_cancelled_anywhere() -> None:
    async with raw_origin(answer_whole) as server, opened(http(server, targets=2)) as origin:

        async def first() -> bytes:
            assert isinstance(origin, HttpOrigin)
            assert origin._pool is not None
            while (idle := origin._pool.take("")) is not None:
                idle.abort()
            return await exchange(origin, get(), Body())

        async def check() -> None:
            await until(lambda: len(server.running) == idle_connections(origin))

        assert await cancel_everywhere(first, check) >= 4


async def test_http1_over_tls_can_be_cancelled_anywhere(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = TlsContexts().client(ca_pool=str(authority.path))

    async def closing(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await peer.head()
            await peer.send(OK_HEAD + b"Connection: close\r\n\r\n", b"hi")

    async with raw_origin(closing, tls=authority.server("app.test")) as server:
        async with opened(http(server, tls=context)) as origin:
            assert await cancel_at_each_point(origin, server, lambda: (get(), Body())) >= 4


async def test_http1_uploads_can_be_cancelled_anywhere() -> None:
    def make() -> tuple[OriginRequest, Body]:
        body = Body(b"abc", end=False)
        asyncio.get_running_loop().call_later(0.002, body.put, b"def")
        return get(method="PUT", length=6), body

    async with raw_origin(answer_in_pieces) as server, opened(http(server)) as origin:
        assert await cancel_at_each_point(origin, server, make) >= 2


async def test_http1_retries_can_be_cancelled_anywhere() -> None:
    async with raw_origin(answer_once) as server, opened(http(server)) as origin:

        async def retried() -> bytes:
            await exchange(origin, get(), Body())
            body = Body(b"abc")
            return await exchange(origin, get(method="PUT", length=3), body)

        async def check() -> None:
            await until(lambda: len(server.running) == idle_connections(origin))

        assert await cancel_everywhere(retried, check) >= 4


async def test_websocket_upgrades_can_be_cancelled_anywhere() -> None:
    def make() -> tuple[OriginRequest, Body]:
        return get("/", KEY, kind=RequestKind.WEBSOCKET, length=None), Body(b"bye")

    async with raw_origin(upgrade) as server, opened(http(server)) as origin:
        assert await cancel_at_each_point(origin, server, make) >= 3


@pytest.mark.parametrize("socks", [False, True])
async def test_tcp_over_websocket_can_be_cancelled_anywhere(socks: bool) -> None:
    wish = b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01" if socks else b"hi"

    def make() -> tuple[OriginRequest, Body]:
        request = get("/", KEY, kind=RequestKind.WEBSOCKET, length=None)
        return request, Body(masked(frames.BINARY, wish), masked(frames.CLOSE, b""))

    async with raw_origin(greet) as server:
        settings = OriginSettings(connect_timeout=5.0, proxy_type="socks" if socks else "")
        async with opened(StreamOrigin(Endpoint(host="127.0.0.1", port=server.port), settings)) as origin:
            assert await cancel_at_each_point(origin, server, make) >= 2


async def test_socks_destinations_can_be_cancelled_anywhere() -> None:
    async with raw_origin(greet) as server:
        wish = b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + server.port.to_bytes(2)

        async def session() -> bytes:
            """What the tunnel's task does, in the task that is cancelled."""
            body = Body(masked(frames.BINARY, wish), masked(frames.CLOSE, b""))
            request = get("/", KEY, kind=RequestKind.WEBSOCKET, length=None)
            response = await origin.serve(request, body)
            try:
                data = b""
                while b"hello" not in data:
                    data += await response.receive()
                await response.finish()
            except BaseException:
                response.abort()
                raise
            return data

        async with opened(SocksOrigin(OriginSettings(ip_rules=LOOPBACK))) as origin:

            async def check() -> None:
                await until(lambda: not server.running)

            assert await cancel_everywhere(session, check) >= 2


async def test_private_tcp_can_be_cancelled_anywhere() -> None:
    async with raw_origin(greet) as server, opened(PrivateTcpOrigin(SETTINGS)) as origin:

        def make() -> tuple[OriginRequest, Body]:
            request = get(kind=RequestKind.TCP)
            request.destination = f"127.0.0.1:{server.port}"
            return request, Body(b"hi")

        assert await cancel_at_each_point(origin, server, make) >= 2


async def test_failover_can_be_cancelled_anywhere() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]

    async with raw_origin(answer_whole) as server:
        inner = http(server)
        dead = HttpOrigin(Endpoint(host="127.0.0.1", port=closed), SETTINGS, make_dialer=Dialer)
        settings = OriginSettings(retry_for=0.5)
        async with opened(FailoverOrigin([dead, inner], ["dead", "live"], settings)) as origin:

            async def check() -> None:
                await until(lambda: len(server.running) == idle_connections(inner))

            await cancel_everywhere(lambda: exchange(origin, get(), Body()), check)


@pytest.mark.parametrize("tls", [False, True])
async def test_http2_exchanges_can_be_cancelled_anywhere(tmp_path: Path, tls: bool) -> None:
    authority = Authority(tmp_path)
    context = TlsContexts().client(ca_pool=str(authority.path), alpn=ALPN_HTTP2)
    served = authority.server("127.0.0.1")
    served.set_alpn_protocols(["h2"])

    def answer(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            with contextlib.suppress(Exception):  # as below
                server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            asyncio.get_running_loop().call_later(0.002, more, server, event.stream_id)

    def more(server: H2Server, stream_id: int) -> None:
        with contextlib.suppress(Exception):  # the client may have reset it
            server.h2.send_data(stream_id, b"hello", end_stream=True)
            server.flush()

    async with h2_server(answer, tls=served if tls else None) as (port, made):
        origin = Http2Origin(
            Endpoint(host="127.0.0.1", port=port),
            SETTINGS,
            make_dialer=lambda: Dialer(tls=TlsClient(context=context) if tls else None),
            fallback=None,
            tls=tls,
        )

        def make() -> tuple[OriginRequest, Body]:
            body = Body(b"abc", end=False)
            asyncio.get_running_loop().call_later(0.002, body.put, b"def")
            return get(method="POST", length=6), body

        async def check() -> None:
            await until(lambda: all(connection.active == 0 for connection in origin._connections))
            assert await exchange(origin, *make()) == b"hello"
            open_ones = [server for server in made if not server.lost.done()]
            await until(lambda: sum(not server.lost.done() for server in made) == len(origin._connections))
            assert all(not server.h2.open_inbound_streams for server in open_ones)

        async def first() -> bytes:
            """On a new connection, so that dialling is among what is cancelled."""
            for connection in list(origin._connections):
                connection.close()
                origin._connections.remove(connection)
            return await exchange(origin, *make())

        async with opened(origin):
            assert await cancel_everywhere(lambda: exchange(origin, *make()), check) >= 2
            assert await cancel_everywhere(first, check) >= 3


async def test_http2_retries_can_be_cancelled_anywhere() -> None:
    """Two refusals, the second in the midst of the body, and then an answer."""

    def answer(server: H2Server, event: events.Event) -> None:
        turn = server.__dict__.setdefault("turn", [0])
        with contextlib.suppress(Exception):  # the client may have reset it
            if isinstance(event, events.RequestReceived):
                turn[0] += 1
                if turn[0] % 3:
                    server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            elif isinstance(event, events.StreamEnded):
                server.answer(event.stream_id, b"hello")

    async with h2_server(answer) as (port, made):
        endpoint = Endpoint(host="127.0.0.1", port=port)
        origin = Http2Origin(endpoint, SETTINGS, make_dialer=Dialer, fallback=None, tls=False)

        def make() -> tuple[OriginRequest, Body]:
            body = Body(b"abc", end=False)
            asyncio.get_running_loop().call_later(0.002, body.put, b"def")
            return get(method="POST", length=6), body

        async def check() -> None:
            await until(lambda: all(connection.active == 0 for connection in origin._connections))
            assert await exchange(origin, *make()) == b"hello"
            await until(lambda: sum(not server.lost.done() for server in made) == len(origin._connections))

        async with opened(origin):
            assert await cancel_everywhere(lambda: exchange(origin, *make()), check) >= 3
