from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError
from pyconnector.origins.http1.connection import HttpConnection
from pyconnector.origins.http1.pool import Pool
from pyconnector.origins.http1.upload import Upload
from tests.origins.support import OK_HEAD, OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.http1 import HttpOrigin
    from tests.support.peers.raw_origin import Peer

pytestmark = pytest.mark.usefixtures("each_loop")


async def serve_forever(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await peer.send(OK_HI)


async def ask(origin: HttpOrigin, method: str = "GET") -> bytes:
    return await read_all(await origin.serve(get(method=method), Body()))


def idle(origin: HttpOrigin) -> int:
    assert origin._pool is not None
    return origin._pool.idle_count


async def test_requests_one_after_another_share_a_connection() -> None:
    async with http_origin(serve_forever) as (origin, server):
        for _ in range(5):
            assert await ask(origin) == b"hi"
        assert [peer.requests for peer in server.peers] == [5]
        assert idle(origin) == 1
        assert "1 idle" in repr(origin)


async def test_requests_at_once_get_connections_of_their_own_and_the_freshest_is_used_next() -> None:
    async with http_origin(serve_forever) as (origin, server):
        await asyncio.gather(*[ask(origin) for _ in range(4)])
        assert len(server.peers) == 4
        for _ in range(6):
            await ask(origin)
        assert sorted(peer.requests for peer in server.peers) == [1, 1, 1, 7]


async def test_no_more_connections_stay_than_asked_for() -> None:
    async with http_origin(serve_forever, settings=OriginSettings(keepalive_connections=2)) as (origin, server):
        await asyncio.gather(*[ask(origin) for _ in range(5)])
        assert idle(origin) == 2
        await until(lambda: len(server.running) == 2)


async def test_keepalive_connections_of_zero_keep_two() -> None:
    async with http_origin(serve_forever, settings=OriginSettings(keepalive_connections=0)) as (origin, _):
        await asyncio.gather(*[ask(origin) for _ in range(5)])
        assert idle(origin) == 2


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with http_origin(serve_forever, settings=OriginSettings(keepalive_timeout=0.05)) as (origin, server):
        await asyncio.gather(*[ask(origin) for _ in range(2)])
        await asyncio.sleep(0.03)
        await ask(origin)  # keeps one of them fresh
        await until(lambda: idle(origin) == 1)
        assert [peer.requests for peer in server.peers if peer.reader.at_eof()] in ([1], [])
        await until(lambda: not server.running)
        assert idle(origin) == 0


async def test_a_timeout_of_zero_keeps_connections() -> None:
    async with http_origin(serve_forever, settings=OriginSettings(keepalive_timeout=0)) as (origin, _):
        await ask(origin)
        assert origin._pool is not None
        assert origin._pool._timer is None
        assert idle(origin) == 1


async def test_the_total_is_bounded_over_all_keys() -> None:
    pool = Pool(max_idle=3, timeout=90)
    made = []
    for number in range(5):
        connection = pool.new_connection(f"key {number}")
        connection.connection_made(_NoTransport())
        pool._take_back(connection)
        made.append(connection)
    assert pool.idle_count == 3
    assert [connection.is_closed for connection in made] == [True, True, False, False, False]
    assert pool.take("key 0") is None
    assert pool.take("key 4") is made[4]
    assert set(pool._idle) == {"key 2", "key 3"}, "no key is kept without a connection"
    pool.close()


class _NoTransport(asyncio.Transport):
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def abort(self) -> None: ...


async def test_a_body_that_proves_too_long_in_the_moment_of_the_answer_ends_the_connection() -> None:
    """The answer is read after the upload failed and before that was noticed: the request is not whole."""

    loop = asyncio.get_running_loop()
    for pieces in ((b"hello!",), (b"hello", b"!")):
        freed: list[HttpConnection] = []
        connection = HttpConnection(freed.append, lambda _: None)
        connection.connection_made(_NoTransport())
        body = Body(end=False)
        exchange = asyncio.create_task(connection.exchange(b"PUT / HTTP/1.1\r\n\r\n", Upload(body, 5)))
        await asyncio.sleep(0.01)
        for piece in pieces:
            body.put(piece)
        loop.call_soon(connection.data_received, OK_HI)
        await asyncio.sleep(0.01)
        assert freed == []
        assert connection.is_closed
        with contextlib.suppress(OriginError):
            (await exchange).abort()


@pytest.mark.parametrize("answer", [OK_HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", OK_HI + b"\r\n"])
async def test_an_answer_that_does_not_leave_the_connection_clean_ends_it(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        await peer.closed()

    async with http_origin(script) as (origin, server):
        for _ in range(2):
            assert await ask(origin) == b"hi"
        assert len(server.peers) == 2
        assert idle(origin) == 0


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", b"\r\n", OK_HI])
async def test_data_on_an_idle_connection_ends_it_and_answers_nobody(unasked: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)
        await asyncio.sleep(0.01)
        await peer.send(unasked)
        await peer.closed()

    async with http_origin(script, serve_forever) as (origin, server):
        assert await ask(origin) == b"hi"
        await until(lambda: idle(origin) == 0)
        assert await ask(origin) == b"hi"
        assert len(server.peers) == 2


async def test_a_connection_that_the_origin_closed_is_not_used_again() -> None:
    async def once(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)

    async with http_origin(once) as (origin, server):
        for _ in range(3):
            assert await ask(origin, "POST") == b"hi"
            await until(lambda: idle(origin) == 0)
        assert len(server.peers) == 3


async def test_cancelling_a_request_closes_its_connection_at_once() -> None:
    async def silent(peer: Peer) -> None:
        await peer.head()
        with contextlib.suppress(ConnectionError):
            await peer.rest()

    for body in (Body(), Body(b"x", end=False)):
        async with http_origin(silent) as (origin, server):
            length = 0 if body.is_over else 100
            serving = asyncio.create_task(origin.serve(get(method="PUT", length=length), body))
            await until(lambda: bool(server.peers and server.peers[0].requests))
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            await until(lambda: not server.running, patience=0.1)


async def test_aborting_a_response_closes_its_connection_at_once() -> None:
    async def endless(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while not peer.reader.at_eof():
                await peer.send(b"tick")
                await asyncio.sleep(0.002)

    async with http_origin(endless) as (origin, server):
        response = await origin.serve(get(), Body())
        assert await response.receive()
        response.abort()
        response.abort()
        await until(lambda: not server.running, patience=0.1)
        assert await response.receive() == b""
        await response.finish()


async def test_aborting_a_response_that_is_whole_harms_nobody() -> None:
    async with http_origin(serve_forever) as (origin, server):
        first = await origin.serve(get(), Body())
        await until(lambda: idle(origin) == 1)
        second = await origin.serve(get(), Body())
        first.abort()
        assert await read_all(second) == b"hi"
        assert len(server.peers) == 1


async def test_closing_lets_requests_end() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"Content-Length: 2\r\n\r\nh")
        await go.wait()
        await peer.send(b"i")
        await peer.closed()

    async with http_origin(serve_forever, slow) as (origin, server):
        await asyncio.gather(ask(origin))
        assert origin._pool is not None
        serve_idle = origin._pool.take("")
        response = await origin.serve(get(), Body())
        assert serve_idle is not None
        origin._pool._take_back(serve_idle)
        await origin.close()
        await origin.close()
        await until(lambda: len(server.running) == 1)
        go.set()
        assert await read_all(response) == b"hi"
        await until(lambda: not server.running)


async def test_an_unreachable_origin_is_said_so() -> None:
    async with http_origin(serve_forever) as (origin, server):
        pass
    with pytest.raises(OriginError) as caught:
        await ask(origin)
    assert caught.value.reason.endswith(f"127.0.0.1:{server.port} refused the connection")
