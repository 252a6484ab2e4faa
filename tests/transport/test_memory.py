"""The memory transport does what every transport must, and loses a connection on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.memory import MemoryLimits, memory_pair
from tests.transport.conformance import Check, Pair, open_both
from tests.transport.conformance_connections import CONNECTION_CHECKS
from tests.transport.conformance_streams import STREAM_CHECKS

pytestmark = pytest.mark.usefixtures("loop_errors")


@asynccontextmanager
async def make_memory_pair(
    *, stream_window: int = 512 * 1024, connection_window: int = 768 * 1024, streams: int = 4096
) -> AsyncIterator[Pair]:
    limits = MemoryLimits(stream_window=stream_window, connection_window=connection_window, streams=streams)
    client, server = memory_pair(limits=limits)
    try:
        yield client, server
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize("check", STREAM_CHECKS + CONNECTION_CHECKS, ids=lambda check: check.__name__)
async def test_memory_transport(check: Check) -> None:
    await check(make_memory_pair)


async def test_a_lost_connection_ends_one_side_and_leaves_the_other_waiting() -> None:
    client, server = memory_pair()
    near, far = await open_both(client, server)
    waiting = asyncio.create_task(near.receive())
    await asyncio.sleep(0)
    client.lose("the cable was cut")
    with pytest.raises(ConnectionClosed) as caught:
        await waiting
    assert caught.value.idle
    assert server.closed is None
    far.send_nowait(b"into the void")
    await asyncio.sleep(0)
    server.close()
