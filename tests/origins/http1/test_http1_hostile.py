"""Origins that break HTTP: one clear failure each, and nothing of it reaches another request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import OriginError
from pyconnector.origins.http1.connection import HttpConnection
from pyconnector.origins.http1.upload import PIECE_BYTES
from pyconnector.origins.net.channel import WRITE_HIGH_WATER
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, MERGE_BELOW, Inbox
from tests.origins.corpus import BROKEN, CUT_SHORT, SLOPPY
from tests.origins.support import OK_HEAD, OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.http1 import HttpOrigin
    from tests.support.peers.raw_origin import Peer

pytestmark = pytest.mark.usefixtures("each_loop")

#: Most that one read of an event loop delivers (asyncio and uvloop alike).
ONE_READ = 256 * 1024


async def serve_well(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await peer.send(OK_HI)


async def outcome(origin: HttpOrigin, method: str = "GET") -> OriginError:
    """The failure of a request, before its response or within."""
    with pytest.raises(OriginError) as caught:
        await read_all(await origin.serve(get(method=method), Body()))
    return caught.value


def assert_clear(failure: OriginError) -> None:
    assert failure.status == 502
    assert failure.reason.startswith("The origin service broke the protocol: ")
    assert failure.reason.isprintable()
    assert len(failure.reason) < 200


@pytest.mark.parametrize("warm", [False, True], ids=["first", "reused"])
async def test_a_broken_response_is_one_502_and_its_connection_is_never_used_again(warm: bool) -> None:
    async def one(method: str, wire: bytes) -> None:
        async def script(peer: Peer) -> None:
            if warm:
                await peer.head()
                await peer.send(OK_HI)
            await peer.head()
            peer.writer.write(wire)
            with contextlib.suppress(ConnectionError):
                await peer.writer.drain()
                await peer.closed()

        async with http_origin(script, serve_well) as (origin, server):
            if warm:
                assert await read_all(await origin.serve(get(), Body())) == b"hi"
            assert_clear(await outcome(origin, method))
            assert origin._pool is not None
            assert origin._pool.idle_count == 0
            await until(lambda: not server.running)
            assert await read_all(await origin.serve(get(), Body())) == b"hi"
            assert len(server.peers) == 2

    for name, (method, wire) in BROKEN.items():
        try:
            await one(method, wire)
        except BaseException as error:
            error.add_note(f"the response was: {name}")
            raise


@pytest.mark.parametrize("cut", ["whole", "in two", "late"])
async def test_a_careless_response_passes_and_its_connection_is_never_used_again(cut: str) -> None:
    async def one(method: str, wire: bytes, status: int, body: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            head, end, surplus = wire.partition(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                if cut == "whole" or not end:
                    await peer.send(wire)
                else:
                    await peer.send(head + end)
                    await asyncio.sleep(0.002 if cut == "in two" else 0.02)
                    await peer.send(surplus)
                await peer.closed()

        async with http_origin(script, serve_well) as (origin, server):
            response = await origin.serve(get(method=method), Body())
            assert (response.status, await read_all(response)) == (status, body)
            # At once, so that what comes late would meet the next request, were the connection used for it.
            assert await read_all(await origin.serve(get(), Body())) == b"hi"
            assert len(server.peers) == 2 or (status == 204 and cut != "whole")
            await until(lambda: len(server.running) == 1)

    for name, (method, wire, status, body) in SLOPPY.items():
        if cut != "whole" and wire.startswith(b"HTTP/1.1 204 No Content\r\n\r\n"):
            continue  # nothing announces what follows, and nothing can tell it from an answer
        if cut != "whole" and method != "HEAD" and status == 200:
            continue  # likewise: there is a body, and it has its length
        try:
            await one(method, wire, status, body)
        except BaseException as error:
            error.add_note(f"the response was: {name}")
            raise


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_response_cut_short_is_a_failure_and_never_a_short_body(how: str) -> None:
    async def one(wire: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(wire)
            await asyncio.sleep(0.005)
            if how == "reset":
                peer.reset()

        async with http_origin(script, serve_well) as (origin, server):
            failure = await outcome(origin)
            assert_clear(failure)
            assert ("broke the connection off" if how == "reset" else "closed the connection") in failure.reason
            assert await read_all(await origin.serve(get(), Body())) == b"hi"
            assert len(server.peers) == 2

    for name, wire in CUT_SHORT.items():
        try:
            await one(wire)
        except BaseException as error:
            error.add_note(f"cut short {name}")
            raise


async def test_an_origin_that_closes_without_a_word_is_unreachable() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with http_origin(script) as (origin, server):
        failure = await outcome(origin)
        assert failure.reason.startswith("Unable to reach the origin service. ")
        assert failure.reason.endswith(f"127.0.0.1:{server.port}: it closed the connection without an answer")


async def test_a_body_that_broke_off_is_handed_on_up_to_there() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"Content-Length: 10\r\n\r\nhello")
        await asyncio.sleep(0.01)

    async with http_origin(script) as (origin, _):
        response = await origin.serve(get(), Body())
        await asyncio.sleep(0.05)
        assert await response.receive() == b"hello"
        for _ in range(2):
            with pytest.raises(OriginError, match="within the body"):
                await response.receive()
        response.abort()


async def test_a_fast_origin_waits_for_a_reader_that_takes_nothing() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.writer.transport.set_write_buffer_limits(high=0)
        await peer.send(OK_HEAD + b"\r\n")
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while True:
                peer.writer.write(bytes(65536))
                await peer.writer.drain()
                sent += 65536

    async with http_origin(script) as (origin, server):
        response = await origin.serve(get(), Body())
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.05)
        assert isinstance(response, Inbox)
        assert INBOX_HIGH_WATER <= response.size <= INBOX_HIGH_WATER + ONE_READ
        for _ in range(50):  # and goes on once it is read
            assert await asyncio.wait_for(response.receive(), 30)
        await until(lambda: sent > before)
        response.abort()
        await until(lambda: not server.running)


async def test_a_response_that_waits_to_be_read_does_not_hold_up_the_next_on_its_connection() -> None:
    size = INBOX_HIGH_WATER + 5000

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"Content-Length: %d\r\n\r\n" % size)
        await peer.send(bytes(INBOX_HIGH_WATER))
        await asyncio.sleep(0.05)
        await peer.send(bytes(5000))  # the end comes with what makes the reading pause
        await peer.head()
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, server):
        unread = await origin.serve(get(), Body())
        assert isinstance(unread, Inbox)
        assert origin._pool is not None
        await until(lambda: unread.size == size)
        assert origin._pool.idle_count == 1
        assert await read_all(await asyncio.wait_for(origin.serve(get(), Body()), 30)) == b"hi"
        assert len(await read_all(unread)) == size
        assert len(server.peers) == 1


async def test_a_trickling_origin_cannot_fill_memory_with_tiny_pieces() -> None:
    count = 3000

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            peer.writer.write(b"2\r\nab\r\n")
            await asyncio.sleep(0)
        await peer.send(b"0\r\n\r\n")
        await peer.closed()

    async with http_origin(script) as (origin, _):
        response = await origin.serve(get(), Body())
        assert isinstance(response, Inbox)
        await until(lambda: response.size == 2 * count)
        assert len(response._pieces) <= 2 + 2 * count // (MERGE_BELOW // 2)
        assert await read_all(response) == b"ab" * count


async def test_a_slow_origin_holds_the_visitor_back() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        total = 0
        while total < 32 << 20:
            total += len(await peer.reader.read(1 << 20))
        await peer.send(OK_HI)
        await peer.closed()

    body = Body(*[bytes(1 << 20)] * 32)
    async with http_origin(script) as (origin, server):
        serving = asyncio.create_task(origin.serve(get(method="PUT", length=32 << 20), body))
        before = -1
        while body.taken != before or not body.taken:
            before = body.taken
            await asyncio.sleep(0.05)
        # What was read of the visitor is in the kernel's buffers, the server's reader, or the bounded queue.
        assert body.taken < (24 << 20)
        assert _unsent() <= WRITE_HIGH_WATER + PIECE_BYTES
        go.set()
        assert await read_all(await serving) == b"hi"
        assert body.taken == 32 << 20
        assert len(server.peers) == 1


def _unsent() -> int:
    """Bytes that wait in the transport of the one connection being used."""
    loop = asyncio.get_running_loop()
    [connection] = [
        thing
        for thing in gc.get_objects()
        if type(thing) is HttpConnection and thing._loop is loop and not thing.is_closed
    ]
    return connection._transport.get_write_buffer_size()
