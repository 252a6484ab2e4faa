"""Old connections that die under a request: when it is sent once more, and when never."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import OriginError
from pyconnector.origins.http1.connection import HttpConnection
from tests.origins.http1.test_http1_pool import ask, serve_forever
from tests.origins.support import OK_HEAD, OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from tests.support.peers.raw_origin import Peer, Script

pytestmark = pytest.mark.usefixtures("each_loop")


def stale_after(*answers: bytes) -> Script:
    """Answers, then closes (or resets) as soon as one more request arrives, without a byte."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.head()
            await peer.send(answer)
        await peer.head()
        peer.reset()

    return script


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_is_sent_once_more_when_the_old_connection_dies(method: str) -> None:
    empty = OK_HEAD + b"Content-Length: 0\r\n\r\n"

    async def fresh(peer: Peer) -> None:
        assert (await peer.head()).startswith(method.encode())
        await peer.send(empty)
        await peer.closed()

    async with http_origin(stale_after(empty), fresh) as (origin, server):
        await ask(origin)
        assert await ask(origin, method) == b""
        assert len(server.peers) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_another_request_is_never_sent_twice(method: str) -> None:
    async with http_origin(stale_after(OK_HI), serve_forever) as (origin, server):
        await ask(origin)
        with pytest.raises(OriginError, match="it broke the connection off"):
            await ask(origin, method)
        assert len(server.peers) == 1


async def test_a_request_with_an_idempotency_key_may_be_sent_twice() -> None:
    async with http_origin(stale_after(OK_HI), serve_forever) as (origin, server):
        await ask(origin)
        asked = get("/", (b"Idempotency-Key", b"1"), method="POST")
        assert await read_all(await origin.serve(asked, Body())) == b"hi"
        assert len(server.peers) == 2


async def test_one_more_try_is_all() -> None:
    async with http_origin(stale_after(OK_HI), stale_after()) as (origin, server):
        await ask(origin)
        with pytest.raises(OriginError, match="Unable to reach the origin service"):
            await ask(origin)
        assert len(server.peers) == 2


async def test_a_new_connection_that_dies_is_not_tried_again() -> None:
    async with http_origin(stale_after()) as (origin, server):
        with pytest.raises(OriginError) as caught:
            await ask(origin)
        assert caught.value.reason.endswith(f"127.0.0.1:{server.port}: it broke the connection off")
        assert len(server.peers) == 1


async def test_one_byte_of_an_answer_forbids_another_try() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)
        await peer.head()
        await peer.send(b"H")

    async with http_origin(script, serve_forever) as (origin, server):
        await ask(origin)
        with pytest.raises(OriginError, match="broke the protocol"):
            await ask(origin)
        assert len(server.peers) == 1


async def test_a_body_that_went_out_with_the_head_is_sent_again() -> None:
    async def fresh(peer: Peer) -> None:
        await peer.head()
        assert await peer.exactly(10) == b"helloworld"
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(stale_after(OK_HI), fresh) as (origin, _):
        await ask(origin)
        body = Body(b"hello", end=False)
        serving = asyncio.create_task(origin.serve(get(method="PUT", length=10), body))
        await asyncio.sleep(0.02)
        body.put(b"world")
        body.end()
        assert await read_all(await serving) == b"hi"


async def test_a_body_that_was_read_further_cannot_be_sent_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)
        await peer.head()
        await peer.exactly(10)
        peer.reset()

    async with http_origin(script, serve_forever) as (origin, server):
        await ask(origin)
        body = Body(b"hello", end=False)
        serving = asyncio.create_task(origin.serve(get(method="PUT", length=20), body))
        await asyncio.sleep(0.02)
        body.put(b"world")
        with pytest.raises(OriginError, match="Unable to reach the origin service"):
            await serving
        assert len(server.peers) == 1


async def test_a_request_that_cannot_be_repeated_looks_before_it_uses_an_old_connection() -> None:
    """The origin's close waits in the kernel, unseen by the loop: a POST goes to a new connection."""

    async def once(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)

    async with http_origin(once, serve_forever) as (origin, server):
        response = await origin.serve(get(), Body())
        assert await response.receive() == b"hi"
        assert origin._pool is not None
        [connection] = origin._pool._idle[""]
        assert isinstance(connection, HttpConnection)
        connection._transport.pause_reading()  # so that the loop does not see what the kernel knows
        await until(lambda: not server.running)
        await asyncio.sleep(0.01)
        assert not connection.is_closed
        assert await ask(origin, "POST") == b"hi"
        assert len(server.peers) == 2
        assert connection.is_closed
