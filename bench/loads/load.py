"""Load from inside the local edge: requests are opened as streams, so that no visitor's parser is measured.

Each function runs `in_flight` loops for `seconds` (or `count` times) and returns the latency of every unit, in seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.loads.answers import Answers
from bench.loads.data_streams import open_message, open_stream
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.openings import encode_connect_request

if TYPE_CHECKING:
    from pyconnector.edge.connectors.quic.exchange import QuicExchange
    from pyconnector.edge.connectors.tunnels import Tunnel

HOST = "bench.test"
_KEY = (b"HttpHeader:Sec-Websocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
#: Fields of every request, as an edge writes them.
BROWSER = (
    (b"HttpHeader:Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"HttpHeader:Accept-Encoding", b"identity"),
    (b"HttpHeader:Accept-Language", b"en-GB,en;q=0.5"),
    (b"HttpHeader:Cf-Connecting-Ip", b"127.0.0.1"),
    (b"HttpHeader:Cf-Ray", b"8c2f4d1a2b3c4d5e-LHR"),
    (b"HttpHeader:User-Agent", b"bench/1"),
    (b"HttpHeader:X-Forwarded-For", b"127.0.0.1"),
    (b"HttpHeader:X-Forwarded-Proto", b"http"),
)
#: Uploaded in pieces of this size.
PIECE = 262_144
UPLOADED = os.urandom(PIECE)


@dataclass(slots=True)
class Outcome:
    """What one row measured."""

    latencies: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    failures: int = 0
    bytes_moved: int = 0


Unit = Callable[["Tunnel"], Awaitable[int]]


async def repeat(unit: Unit, tunnel: Tunnel, *, in_flight: int, seconds: float = 0.0, count: int = 0) -> Outcome:
    """Run `unit` in `in_flight` loops until `seconds` are over, or `count` times in all."""
    outcome = Outcome()
    clock = time.perf_counter
    started = clock()
    left = count

    async def loop() -> None:
        nonlocal left
        while left > 0 if count else clock() - started < seconds:
            left -= 1
            begun = clock()
            try:
                moved = await unit(tunnel)
            except Exception:  # noqa: BLE001 - a failure of the connector under test is a figure, not an end
                outcome.failures += 1
                await asyncio.sleep(0.01)
            else:
                outcome.bytes_moved += moved
                outcome.latencies.append(clock() - begun)

    await asyncio.gather(*(loop() for _ in range(in_flight)))
    outcome.elapsed = clock() - started
    return outcome


def http_request(path: str, *more: tuple[bytes, bytes], method: bytes = b"GET") -> ConnectRequest:
    """What opens the stream of a request for the bench's hostname."""
    metadata = ((b"HttpMethod", method), (b"HttpHost", HOST.encode()), *BROWSER, *more)
    return ConnectRequest(dest=f"http://{HOST}{path}", type=ConnectionType.HTTP, metadata=metadata)


def download(size: int) -> Unit:
    """GET `size` bytes."""
    opening = encode_connect_request(http_request(f"/bytes/{size}"))
    answers = Answers(size)

    async def unit(tunnel: Tunnel) -> int:
        stream = await open_stream(tunnel, opening, finish=True)
        try:
            return await answers.check(stream)
        except BaseException:
            stream.stop()
            raise

    return unit


def upload(size: int) -> Unit:
    """POST `size` bytes."""
    length = str(size).encode()
    opening = encode_connect_request(http_request("/sink", (b"HttpHeader:Content-Length", length), method=b"POST"))
    answers = Answers(len(length))

    async def unit(tunnel: Tunnel) -> int:
        stream, left = await open_stream(tunnel, opening), size
        try:
            while left:
                piece = UPLOADED if left >= PIECE else UPLOADED[:left]
                left -= len(piece)
                if stream.send_nowait(piece, finish=not left):
                    await stream.drain()
            await answers.check(stream)
        except BaseException:
            stream.reset()
            stream.stop()
            raise
        return size

    return unit


async def first_byte(tunnel: Tunnel, *, seconds: float) -> Outcome:
    """Streamed responses, one after the other: the time to the first piece of body. The rest is read, and not timed."""
    outcome = Outcome()
    clock = time.perf_counter
    started = clock()
    while clock() - started < seconds:
        begun = clock()
        exchange = await open_message(tunnel, http_request("/stream"), finish=True)
        try:
            await exchange.answer()
            if not exchange.leftover and not await exchange.stream.receive():
                raise RuntimeError("the response ended before its body began")
            outcome.latencies.append(clock() - begun)
            while await exchange.stream.receive():
                pass
        finally:
            exchange.close()
    outcome.elapsed = clock() - started
    return outcome


async def _reply(exchange: QuicExchange, size: int) -> None:
    got = len(exchange.leftover)
    exchange.leftover = b""
    while got < size:
        piece = await exchange.stream.receive()
        if not piece:
            raise RuntimeError("the other end finished")
        got += len(piece)


async def open_tcp(tunnel: Tunnel, destination: str) -> QuicExchange:
    """A private-network stream to `destination` (IP:port), acknowledged."""
    exchange = await open_message(tunnel, ConnectRequest(dest=destination, type=ConnectionType.TCP, metadata=()))
    response = await exchange.answer()
    if response.error:
        raise RuntimeError(response.error)
    return exchange


async def ping_pong(tunnel: Tunnel, *, in_flight: int, seconds: float, destination: str | None = None) -> Outcome:
    """64 bytes to and fro on `in_flight` held streams: TCP to `destination`, else one masked WebSocket frame."""
    if destination is None:
        request = ConnectRequest(
            dest=f"http://{HOST}/ws",
            type=ConnectionType.WEBSOCKET,
            metadata=((b"HttpMethod", b"GET"), (b"HttpHost", HOST.encode()), *BROWSER, _KEY),
        )
        message, size = bytes((0x82, 0x80 | 64)) + b"\0\0\0\0" + bytes(64), 66
    else:
        message, size = bytes(64), 64
    outcome = Outcome()
    clock = time.perf_counter

    async def prepared() -> QuicExchange:
        if destination is not None:
            return await open_tcp(tunnel, destination)
        exchange = await open_message(tunnel, request)
        response = await exchange.answer()
        if (b"HttpStatus", b"101") not in response.metadata:
            raise RuntimeError(response.error or "not a 101")
        return exchange

    exchanges = [await prepared() for _ in range(in_flight)]
    started = clock()

    async def loop(exchange: QuicExchange) -> None:
        while clock() - started < seconds:
            begun = clock()
            exchange.stream.send_nowait(message)
            await _reply(exchange, size)
            outcome.latencies.append(clock() - begun)

    try:
        await asyncio.gather(*(loop(exchange) for exchange in exchanges))
        outcome.elapsed = clock() - started
    finally:
        for exchange in exchanges:
            exchange.abort()
    return outcome
