"""Hostile HTTP/2 from either end: it costs its sender the connection, and others nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pyconnector.transport.http2 import SERVER_SETTINGS, Http2Connection, connect
from pyconnector.web.http2.frames import PREFACE
from tests.transport.pairs.http2_pair import edge_tls, http2_pair, listening

pytestmark = pytest.mark.usefixtures("each_loop")

REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


def flags(frame: Frame, *names: str) -> bytes:
    for name in names:
        frame.flags.add(name)
    return frame.serialize()


def request(stream_id: int, *, end: bool = True) -> bytes:
    return flags(HeadersFrame(stream_id, Encoder().encode(REQUEST)), "END_HEADERS", *(["END_STREAM"] if end else []))


class RawEdge:
    """An edge that writes frames itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        writer.write(PREFACE + SettingsFrame(0).serialize())

    async def frame(self) -> tuple[Frame, bytes]:
        head = await self.reader.readexactly(9)
        frame, length = Frame.parse_frame_header(memoryview(head))
        return frame, await self.reader.readexactly(length)

    async def until_goaway(self) -> GoAwayFrame:
        while True:
            frame, body = await self.frame()
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(memoryview(body))
                return frame

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@asynccontextmanager
async def against_connector(directory: Path, **settings: Any) -> AsyncIterator[tuple[RawEdge, Http2Connection]]:
    """A raw edge, and our connector's end that has dialled it."""
    tls, ca_file = edge_tls(directory)
    from pyconnector.transport.http2 import server_context

    met: asyncio.Future[RawEdge] = asyncio.get_running_loop().create_future()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set_result(RawEdge(reader, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=server_context(tls))
    connection = await connect(
        server.sockets[0].getsockname()[:2], ca_file=ca_file, settings=replace(SERVER_SETTINGS, **settings)
    )
    edge = await met
    try:
        yield edge, connection
    finally:
        connection.close()
        await connection.wait_closed()
        edge.writer.close()
        server.close()


def hpack_bomb() -> bytes:
    """One field of 4 KB in the table, then thousands of references to it."""
    block = Encoder().encode([*REQUEST, ("x", "a" * 3900)])
    return flags(HeadersFrame(1, block + b"\xbe" * 12_000), "END_HEADERS", "END_STREAM")


FLOODS: dict[str, tuple[Callable[[], bytes], int]] = {
    # What is sent again and again, and the code that ends it.
    "ping": (lambda: PingFrame(0, b"12345678").serialize(), 11),
    "settings": (lambda: SettingsFrame(0, {1: 4096, 3: 100}).serialize(), 11),
    "empty data": (lambda: DataFrame(1, b"").serialize(), 11),
    "priority": (lambda: PriorityFrame(1, 0, 1).serialize(), 11),
    "windows by one": (lambda: WindowUpdateFrame(1, 1).serialize(), 11),
    "continuation": (lambda: ContinuationFrame(3, b"").serialize(), 11),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_frames_that_carry_nothing_ends_the_connection(kind: str, tmp_path: Path) -> None:
    make, code = FLOODS[kind]

    async with against_connector(tmp_path) as (edge, connection):
        await edge.send(request(1, end=False))
        if kind == "continuation":
            await edge.send(HeadersFrame(3, Encoder().encode(REQUEST)).serialize())
        reading = asyncio.ensure_future(edge.until_goaway())
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.ensure_future(count())
        try:
            for _ in range(40):
                await edge.send(make() * 500)
                if reading.done():
                    break
        except (ConnectionError, ssl.SSLError):
            pass
        info = await asyncio.wait_for(connection.wait_closed(), 30)
        counting.cancel()
        assert (info.code, info.local) == (code, True)
        assert turns > 20 or kind == "continuation", "others had their turns meanwhile"
        reading.cancel()


async def test_resets_in_rapid_succession_leave_nothing_and_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyconnector.transport.http2 import incoming

    monkeypatch.setattr(incoming, "MAX_RESETS", 2000)
    monkeypatch.setattr(incoming, "RESETS_A_SECOND", 100.0)

    async with against_connector(tmp_path) as (edge, connection):
        cancelled: list[int] = []
        connection.set_stream_handler(
            lambda stream: stream.set_abort_callback(lambda: cancelled.append(stream.stream_id))
        )
        numbers = iter(range(1, 1_000_000, 2))
        try:
            for _ in range(20):
                batch = b"".join(
                    request(number) + RstStreamFrame(number, 8).serialize()
                    for number in (next(numbers) for _ in range(500))
                )
                await edge.send(batch)
                if connection.closed is not None:
                    break
        except (ConnectionError, ssl.SSLError):
            pass
        info = await asyncio.wait_for(connection.wait_closed(), 20)
        assert (info.code, info.reason) == (11, "too many streams are taken back")
        assert len(cancelled) >= 2000
        assert not connection.streams


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" + bytes(30), 6),
        (b"\x7f\xff\xff" + bytes(6), 6),
        (hpack_bomb(), 9),
        (flags(HeadersFrame(1, b"\xff" * 50), "END_HEADERS"), 9),
        (request(2), 1),
        (WindowUpdateFrame(0, 0x7FFFFFFF).serialize(), 3),
        (request(1, end=False) + DataFrame(1, bytes(60_000)).serialize() * 3, 3),
        (HeadersFrame(1, bytes(300_000)).serialize(), 11),
    ],
    ids=["HTTP/1.1", "long frame", "HPACK bomb", "no HPACK", "even stream", "window too wide",
         "window ignored", "long block"],
)  # fmt: skip
async def test_a_broken_protocol_ends_the_connection_with_its_code(data: bytes, code: int, tmp_path: Path) -> None:
    async with against_connector(tmp_path) as (edge, connection):
        await edge.send(data)
        info = await asyncio.wait_for(connection.wait_closed(), 30)
        assert (info.local, info.code) == (True, code), info


async def test_data_behind_the_end_costs_its_stream_alone(tmp_path: Path) -> None:
    async with against_connector(tmp_path) as (edge, connection):
        await edge.send(request(1) + DataFrame(1, b"more").serialize())
        while True:
            frame, body = await asyncio.wait_for(edge.frame(), 30)
            if isinstance(frame, RstStreamFrame):
                break
        assert (frame.stream_id, int.from_bytes(body, "big")) == (1, 5)
        assert not connection.streams
        assert connection.closed is None


async def test_streams_beyond_the_limit_are_refused_one_by_one(tmp_path: Path) -> None:
    async with against_connector(tmp_path, max_streams=3) as (edge, connection):
        await edge.send(b"".join(request(1 + 2 * number, end=False) for number in range(5)))
        refused: list[tuple[int, int]] = []
        while len(refused) < 2:
            frame, body = await asyncio.wait_for(edge.frame(), 30)
            if isinstance(frame, RstStreamFrame):
                refused.append((frame.stream_id, int.from_bytes(body, "big")))
        assert refused == [(7, 7), (9, 7)]
        assert len(connection.streams) == 3


async def test_who_does_not_read_its_answers_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyconnector.transport.http2 import connection as module
    from pyconnector.transport.http2 import incoming

    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10**9)
    monkeypatch.setattr(module, "MAX_UNSENT", 256 * 1024)

    async with against_connector(tmp_path) as (edge, connection):
        edge.writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            while connection.closed is None:
                await edge.send(PingFrame(0, b"12345678").serialize() * 2000)
                await asyncio.sleep(0)
        except (ConnectionError, ssl.SSLError):
            pass
        info = await asyncio.wait_for(connection.wait_closed(), 30)
        assert info.reason == "it does not read what it asks for"


async def test_a_connector_that_floods_our_edge_is_cut_off(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        # The server's end as a hostile one: its frames are written past it.
        flood = PingFrame(0, b"12345678").serialize() * 20_000
        connector._socket.write(flood)
        info = await asyncio.wait_for(edge.wait_closed(), 20)
        assert info.code == 11


async def test_a_peer_that_is_no_http2_server_is_noticed(tmp_path: Path) -> None:
    from pyconnector.transport.http2 import CLIENT_SETTINGS, Http2Socket

    met: asyncio.Future[Http2Connection] = asyncio.get_running_loop().create_future()
    async with listening(
        tmp_path, lambda: Http2Socket(client=True, settings=CLIENT_SETTINGS, on_connection=met.set_result)
    ) as (address, ca_file):
        context = ssl.create_default_context(cafile=ca_file)
        _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="h2.cftunnel.com")
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        info = await asyncio.wait_for((await met).wait_closed(), 30)
        assert info.code in (1, 6)
        writer.close()
