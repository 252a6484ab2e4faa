"""Streams that hardly move: uploads to a slow origin and downloads by slow visitors, with a quick neighbour beside."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import TYPE_CHECKING

from bench.loads import load
from bench.loads.data_streams import open_message
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pyconnector.edge.connectors.tunnels import Tunnel

GIB = 1024 * 1024 * 1024
_STEP = 1 / 16
#: Seconds after which a neighbour's request counts as starved, unless told otherwise.
PATIENCE = 5.0


async def slow_download(tunnel: Tunnel, pace: int) -> None:
    """GET 1 GiB and take `pace` bytes of it per second until cancelled."""
    exchange = await open_message(tunnel, load.http_request(f"/bytes/{GIB}"), finish=True)
    try:
        await exchange.answer()
        clock = asyncio.get_running_loop().time
        due = clock() + _STEP * random.random()
        while True:
            await asyncio.sleep(max(due - clock(), 0.0))
            due += _STEP
            left = int(pace * _STEP)
            while left > 0:
                piece = await exchange.stream.receive(left)
                if not piece:
                    return
                left -= len(piece)
    finally:
        exchange.abort()


async def offered_upload(tunnel: Tunnel, pace: int) -> None:
    """POST 1 GiB, as fast as the tunnel takes it, to an origin that reads `pace` bytes per second, until cancelled."""
    length = (b"HttpHeader:Content-Length", str(GIB).encode())
    exchange = await open_message(tunnel, load.http_request(f"/slow/{pace}", length, method=b"POST"))
    piece = bytes(load.PIECE)
    try:
        for _ in range(GIB // load.PIECE):
            if exchange.stream.send_nowait(piece):
                await exchange.stream.drain()
        await exchange.answer()
    finally:
        exchange.abort()


async def stalled_stream(tunnel: Tunnel, destination: str) -> None:
    """Open a TCP stream and offer bytes that its echo cannot return, because nobody reads them, until cancelled."""
    exchange = await open_message(tunnel, ConnectRequest(dest=destination, type=ConnectionType.TCP, metadata=()))
    try:
        await exchange.answer()
        piece = bytes(load.PIECE)
        while True:
            if exchange.stream.send_nowait(piece):
                await exchange.stream.drain()
    finally:
        exchange.abort()


async def beside(
    tunnel: Tunnel,
    work: list[Coroutine[Any, Any, None]],
    *,
    windows: int,
    settle: float,
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """Run `work`, and after `settle` seconds small requests beside it, one after the other; return what they took.

    `p50` and `p99` are medians of what each second showed; `worst` is the longest of all; `starved` counts those that
    got no answer within `patience` seconds, which each of them counts as; `broken` those of `work` that ended by
    themselves.
    """
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        if work:
            await asyncio.sleep(settle)
        seen = [await _one_window(tunnel, patience) for _ in range(windows)]
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    latencies = [latency for window in seen for latency in window]
    return {
        "p50": statistics.median(statistics.median(window) for window in seen),
        "p99": statistics.median(sorted(window)[len(window) * 99 // 100] for window in seen),
        "worst": max(latencies),
        "count": len(latencies),
        "starved": sum(latency >= patience for latency in latencies),
        "broken": sum(not isinstance(end, asyncio.CancelledError) for end in ends),
    }


async def _one_window(tunnel: Tunnel, patience: float) -> list[float]:
    """Latencies of the small requests of one second."""
    unit = load.download(1024)
    latencies: list[float] = []
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(patience):  # `wait_for` would time three more turns of this process's loop
                await unit(tunnel)
        except TimeoutError:
            latencies.append(patience)
        else:
            latencies.append(time.perf_counter() - begun)
        await asyncio.sleep(0.005)
    return latencies
