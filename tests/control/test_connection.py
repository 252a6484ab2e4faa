"""Connections of the API: floods of the smallest units leave turns to others, and nobody keeps a place by stalling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import h11
import pytest

from pyconnector.control import connection
from pyconnector.control.api import guard
from pyconnector.control.api.guard import read_body
from pyconnector.control.connection import SLICE
from pyconnector.control.server import ApiServer
from tests.support.loop.turns import TurnMeter

pytestmark = pytest.mark.usefixtures("each_loop")

POST = b"POST /%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "chunks of a byte": (POST % b"body", b"1\r\nx\r\n"),
    "chunks nobody wants": (POST % b"", b"1\r\nx\r\n"),
    "requests": (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty lines": (b"", b"\r\n"),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(receive, 4_000_000) if scope["path"] == "/body" else b""
    told = json.dumps([scope["path"], len(body or b""), sum(body or b"")]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, int]]:
    server = ApiServer(app)
    address = await server.start("127.0.0.1", 0)
    try:
        yield address
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def client(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def told(reader: asyncio.StreamReader) -> Any:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    size = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return json.loads(await reader.readexactly(size))


async def _flood(address: tuple[str, int], head: bytes, wire: bytes) -> None:
    async with client(address) as (reader, writer):
        writer.write(head + wire)
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass


@pytest.mark.parametrize("connections", [1, 20])
@pytest.mark.parametrize("kind", FLOODS)
async def test_others_are_answered_during_a_flood(kind: str, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = TurnMeter()
    whole = h11.Connection.receive_data

    def receive_data(self: h11.Connection, data: bytes) -> None:
        meter.add(len(data))
        whole(self, data)

    monkeypatch.setattr(h11.Connection, "receive_data", receive_data)
    async with serving() as address:
        head, unit = FLOODS[kind]
        wire = unit * ((16_384 // connections + SLICE) // len(unit))
        floods = [asyncio.create_task(_flood(address, head, wire)) for _ in range(connections)]
        with meter:
            async with asyncio.timeout(20):
                while not meter.total:
                    await asyncio.sleep(0)
                async with client(address) as (reader, writer):
                    for _ in range(2):
                        writer.write(b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n")
                        assert await told(reader) == ["/probe", 0, 0]
        for task in floods:
            task.cancel()
        await asyncio.wait(floods)
    assert meter.most <= SLICE


async def test_bodies_and_requests_sent_ahead_arrive_whole() -> None:
    chance = random.Random(7)
    async with serving() as address, client(address) as (reader, writer), asyncio.timeout(20):
        for size in (0, 1, SLICE, 100_000, 1_000_000):
            body = chance.randbytes(size)
            ahead = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n" * 50
            writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (size, body) + ahead)
            assert await told(reader) == ["/body", size, sum(body)]
            for _ in range(50):
                assert await told(reader) == ["/next", 0, 0]


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHo", POST % b"" + b"5\r\nab"])
async def test_who_never_ends_a_request_loses_its_place(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.1)
    async with serving() as address, client(address) as (reader, writer), asyncio.timeout(10):
        writer.write(said)
        await reader.read()


async def test_a_request_that_is_served_for_long_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.05)
    async with serving() as address, client(address) as (reader, writer), asyncio.timeout(10):
        writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.2)
        writer.write(b"b")
        assert await told(reader) == ["/body", 2, ord("a") + ord("b")]


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_TIMEOUT", 0.01)

    async def nothing() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await guard.read_body(nothing, 10)
