"""WebSockets to HTTP services: the upgrade is asked for, then bytes pass both ways without being looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import OriginError, RequestKind
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, Inbox
from tests.origins.support import OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginRequest
    from tests.support.peers.raw_origin import Peer

pytestmark = pytest.mark.usefixtures("each_loop")

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: abc=\r\n\r\n"
)


def upgrade() -> OriginRequest:
    return get("/chat", (b"Sec-Websocket-Key", b"a2V5"), kind=RequestKind.WEBSOCKET, length=None)


async def test_bytes_pass_both_ways_and_each_direction_ends_alone() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert head.startswith(b"GET /chat HTTP/1.1\r\nHost: app.test\r\nSec-Websocket-Key: a2V5\r\n")
        assert head.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Version: 13\r\n\r\n")
        await peer.send(SWITCH + b"first")
        assert await peer.exactly(5) == b"hello"
        await peer.send(b"second")
        assert await peer.rest() == b"bye"  # the visitor ended, we go on
        await peer.send(b"third")

    body = Body(end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), body)
        assert response.status == 101
        assert response.tunnel
        assert response.headers == [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", b"abc="),
        ]
        assert await response.receive() == b"first"
        body.put(b"hello")
        assert await response.receive() == b"second"
        body.put(b"bye")
        body.end()
        assert await response.receive() == b"third"
        assert await response.receive() == b""
        await asyncio.wait_for(response.finish(), 30)
        response.abort()
        await until(lambda: not server.running)
        assert origin._pool is not None
        assert origin._pool.idle_count == 0


async def test_the_service_may_end_first_and_still_be_sent_to() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        peer.half_close()
        assert await peer.rest() == b"more"

    body = Body(end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), body)
        assert await response.receive() == b""
        finishing = asyncio.create_task(response.finish())
        await asyncio.sleep(0.01)
        assert not finishing.done()
        body.put(b"more")
        body.end()
        await asyncio.wait_for(finishing, 30)
        await until(lambda: not server.running)


async def test_another_answer_is_an_ordinary_response() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await peer.head()
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), Body(b"frames that nobody wants", end=False))
        assert (response.status, response.tunnel) == (403, False)
        assert await read_all(response) == b"no"
        assert await read_all(await origin.serve(get(), Body())) == b"hi"
        assert len(server.peers) == 1


async def test_a_switch_to_nothing_in_particular_is_a_broken_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Go\r\n\r\n")
        await peer.closed()

    async with http_origin(script) as (origin, _):
        with pytest.raises(OriginError, match="broke the protocol"):
            await origin.serve(upgrade(), Body(end=False))


@pytest.mark.parametrize("who", ["abort", "reset of the visitor", "cancelled finish"])
async def test_a_visitor_who_leaves_is_seen_by_the_service_at_once(who: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        with pytest.raises(ConnectionResetError):  # broken off, not ended
            await peer.rest()

    body = Body(end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), body)
        await asyncio.sleep(0.01)
        if who == "abort":
            response.abort()
            response.abort()
        elif who == "cancelled finish":
            finishing = asyncio.create_task(response.finish())
            await asyncio.sleep(0)
            finishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await finishing
        else:
            body.fail(RuntimeError("stream reset"))
        await until(lambda: not server.running, patience=0.1)
        assert await response.receive() == b""
        response.abort()


async def test_a_service_that_breaks_off_fails_the_tunnel() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH + b"part")
        await asyncio.sleep(0.01)
        peer.reset()

    body = Body(end=False)
    async with http_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), body)
        assert await response.receive() == b"part"
        with pytest.raises(OriginError, match="it broke the connection off"):
            await response.receive()
        await asyncio.wait_for(response.finish(), 30)  # the other direction ended with it


async def test_cancelling_before_the_answer_closes_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.closed()

    async with http_origin(script) as (origin, server):
        serving = asyncio.create_task(origin.serve(upgrade(), Body(end=False)))
        await until(lambda: bool(server.peers and server.peers[0].requests))
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await until(lambda: not server.running, patience=0.1)


async def test_both_directions_are_bounded() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        for _ in range(64):
            peer.writer.write(bytes(1 << 20))
        await go.wait()
        peer.writer.transport.abort()

    body = Body(*[bytes(1 << 20)] * 64, end=False)
    async with http_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), body)
        before = -1
        while body.taken != before:
            before = body.taken
            await asyncio.sleep(0.05)
        assert isinstance(response, Inbox)
        assert response.size <= INBOX_HIGH_WATER + 256 * 1024
        assert body.taken < 32 << 20
        go.set()
        response.abort()
