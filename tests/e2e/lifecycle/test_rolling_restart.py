"""Two connectors of one tunnel under load, restarted in turn as an upgrade does it: no visitor gets an error."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from tests.e2e.lifecycle.test_process import config, edge_for_tests, flags
from tests.support.peers.load import under_load
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.services.process import pyconnector

VISITORS = 20
BODY = b"x" * 50_000


async def takes_its_time(peer: Peer) -> None:
    """Answer so that some request is always under way."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await asyncio.sleep(0.02)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)


async def test_connectors_restarted_in_turn_drop_nothing(tmp_path: Path, engine: str) -> None:
    async with raw_origin(takes_its_time) as origin, edge_for_tests() as edge, contextlib.AsyncExitStack() as stack:
        path = config(tmp_path, f"  - service: http://127.0.0.1:{origin.port}\n")
        by = ("--protocol", "http2") if engine == "http2" else ("--quic-engine", engine)
        command = ("run", path, *flags(edge), *by)
        first = await stack.enter_async_context(pyconnector(*command))
        await first.line("Registered tunnel connection")
        second = await stack.enter_async_context(pyconnector(*command))
        await second.line("Registered tunnel connection")
        async with under_load(edge.visitor_address, visitors=VISITORS) as load:
            for old in (first, second):
                old.send_signal(signal.SIGTERM)
                assert await old.code() == 0
                assert "broken off" not in old.text
                new = await stack.enter_async_context(pyconnector(*command))
                await new.line("Registered tunnel connection")
                await load.until(2 * VISITORS)
        assert set(load.answers) == {(200, BODY)}
