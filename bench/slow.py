"""Streams that hardly move: uploads to a slow origin and downloads by slow visitors, with a quick neighbour beside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from bench import load
from edge.exchange import open_exchange
from protocol.connect import ConnectionType, ConnectRequest

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from edge.tunnels import Tunnel

GIB = 1024 * 1024 * 1024
#: What a slow reader takes per second.
PACE = 1024 * 1024
_STEP = 1 / 16


async def slow_download(tunnel: Tunnel) -> None:
    """GET 1 GiB and take it at 1 MiB/s until cancelled."""
    exchange = await open_exchange(tunnel, load.http_request(f"/bytes/{GIB}"), finish=True)
    try:
        await exchange.response()
        while True:
            left = int(PACE * _STEP)
            while left > 0:
                piece = await exchange.stream.receive(left)
                if not piece:
                    return
                left -= len(piece)
            await asyncio.sleep(_STEP)
    finally:
        exchange.abort()


async def offered_upload(tunnel: Tunnel) -> None:
    """POST 1 GiB, as fast as the tunnel takes it, to an origin that reads 1 MiB/s, until cancelled."""
    length = (b"HttpHeader:Content-Length", str(GIB).encode())
    exchange = await open_exchange(tunnel, load.http_request("/slow", length, method=b"POST"))
    piece = bytes(load.PIECE)
    try:
        for _ in range(GIB // load.PIECE):
            if exchange.stream.send_nowait(piece):
                await exchange.stream.drain()
        await exchange.response()
    finally:
        exchange.abort()


async def stalled_stream(tunnel: Tunnel, destination: str) -> None:
    """Open a TCP stream and offer bytes that its echo cannot return, because nobody reads them, until cancelled."""
    exchange = await open_exchange(tunnel, ConnectRequest(dest=destination, type=ConnectionType.TCP, metadata=()))
    try:
        await exchange.response()
        piece = bytes(load.PIECE)
        while True:
            if exchange.stream.send_nowait(piece):
                await exchange.stream.drain()
    finally:
        exchange.abort()


async def beside(tunnel: Tunnel, work: list[Coroutine[Any, Any, None]], *, seconds: float) -> load.Outcome:
    """Run `work` for `seconds` and return how small requests on the same connection fared meanwhile."""
    tasks = [asyncio.ensure_future(each) for each in work]
    unit = load.download(1024)
    outcome = load.Outcome()
    end = time.perf_counter() + seconds
    try:
        await asyncio.sleep(min(1.0, seconds / 4))
        while time.perf_counter() < end:
            begun = time.perf_counter()
            await unit(tunnel)
            outcome.latencies.append(time.perf_counter() - begun)
            await asyncio.sleep(0.005)
        outcome.elapsed = seconds
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
    return outcome
