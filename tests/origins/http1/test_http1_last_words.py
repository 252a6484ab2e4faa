"""A service that answers before it has the whole body, and closes: its answer comes, however the connection ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError
from pyconnector.origins.http1 import HttpOrigin, connection
from pyconnector.origins.net.dial import Dialer, DialSettings, Endpoint
from tests.origins.support import get, read_all
from tests.support.wire.bodies import Body

pytestmark = pytest.mark.usefixtures("each_loop")

HEAD = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


@contextlib.asynccontextmanager
async def _service() -> AsyncIterator[tuple[HttpOrigin, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        origin = HttpOrigin(
            Endpoint(host="127.0.0.1", port=listener.getsockname()[1]),
            OriginSettings(),
            make_dialer=lambda: Dialer(DialSettings(connect_timeout=5.0)),
        )
        await origin.start()
        try:
            yield origin, listener
        finally:
            await origin.close()


async def _answer_and_reset(listener: socket.socket, answer: bytes, body: Body, *, end: bool = False) -> None:
    """All in one turn of the loop, so that the next piece of the body is written before the answer is read."""
    loop = asyncio.get_running_loop()
    taken, _ = await loop.sock_accept(listener)
    with taken:
        await loop.sock_recv(taken, 65_536)
        await asyncio.sleep(0.01)
        taken.sendall(answer)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    body.put(b"more")
    if end:
        body.end()


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("size", [0, 3, 20_000])
async def test_an_early_answer_is_read_though_writing_failed(size: int, end: bool) -> None:
    async with _service() as (origin, listener), asyncio.timeout(10):
        body = Body(b"begun", end=False)
        answering = asyncio.create_task(_answer_and_reset(listener, HEAD % size + bytes(size), body, end=end))
        response = await origin.serve(get(method="POST", length=9 if end else 1_000), body)
        assert response.status == 413
        assert await read_all(response) == bytes(size)
        await answering


async def test_an_answer_that_is_cut_is_not_taken_for_whole() -> None:
    async with _service() as (origin, listener), asyncio.timeout(10):
        body = Body(b"begun", end=False)
        answering = asyncio.create_task(_answer_and_reset(listener, HEAD % 10 + b"half", body))
        with pytest.raises(OriginError):
            await read_all(await origin.serve(get(method="POST", length=1_000), body))
        await answering


async def test_what_is_read_of_a_broken_connection_is_bounded(each_loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if each_loop != "asyncio":
        pytest.skip("uvloop reads before it writes: nothing is left")
    monkeypatch.setattr(connection, "LAST_WORDS", 1_000)
    async with _service() as (origin, listener), asyncio.timeout(10):
        body = Body(b"begun", end=False)
        answering = asyncio.create_task(_answer_and_reset(listener, HEAD % 20_000 + bytes(20_000), body))
        with pytest.raises(OriginError):
            await read_all(await origin.serve(get(method="POST", length=1_000), body))
        await answering


async def test_a_broken_connection_is_not_kept_whatever_its_answer_says() -> None:
    async with _service() as (origin, listener), asyncio.timeout(10):
        body = Body(b"begun", end=False)
        answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
        answering = asyncio.create_task(_answer_and_reset(listener, answer, body, end=True))
        response = await origin.serve(get(method="POST", length=9), body)
        assert (response.status, await read_all(response)) == (413, b"no")
        await answering
        await asyncio.sleep(0.01)
        assert origin._pool is not None
        assert origin._pool.idle_count == 0
