"""Time that passed while nobody looked ends a connection at once, whatever waits in its socket."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.transport.quic.flow.standstill import Standstill
from tests.transport.conformance import exchange, until
from tests.transport.pairs.aioquic_pair import dial, serve

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection

ENGINES = ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def test_only_longer_than_the_limit_counts() -> None:
    now = [0.0]
    standstill = Standstill(5.0, clock=lambda: now[0])
    now[0] = 5.0
    assert not standstill.look()
    now[0] = 12.0
    assert standstill.look() == 7.0
    assert not standstill.look()


@asynccontextmanager
async def _aioquic_pair() -> AsyncIterator[tuple[Connection, Connection]]:
    async with serve() as server:
        client = await dial(server.listener.address)
        try:
            yield client, await server.next()
        finally:
            client.close()


def _pair(engine: str) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    if engine == "aioquic":
        return _aioquic_pair()
    from tests.transport.pairs.qh3_pair import qh3_pair

    return qh3_pair()


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize("engine", ENGINES)
async def test_pause_longer_than_the_idle_timeout_ends_a_connection(engine: str) -> None:
    async with _pair(engine) as (client, server):
        await exchange(client, server)
        clock = Clock()
        client._standstill = Standstill(5.0, clock=clock)
        clock.ahead = 20.0
        stream = await server.open_stream()
        stream.send_nowait(b"an old datagram", finish=True)
        await until(lambda: client.closed is not None, "it is over as soon as a datagram arrives")
        assert client.closed.idle
        assert client.closed.reason == "this process stood still for 20 s, longer than the peer waits"
        assert not client.streams


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.skipif("qh3" not in ENGINES, reason="the qh3 engine is not installed")
async def test_qh3_does_not_wait_longer_for_silent_peers_after_late_answers() -> None:
    async with _pair("qh3") as (client, server):
        await exchange(client, server)
        settings = client._settings
        client._heard = time.monotonic() - settings.idle_timeout - settings.keepalive
        client._look_at_path(time.monotonic())
        assert client.closed.idle
        assert client.closed.reason == "nothing was heard from the peer for 60 s" or settings.idle_timeout == 5.0
