"""Connectors that end under load: `python -m bench.drains --drains 30`. How many requests does that cost? None.

A local edge and two connectors of one tunnel in this process. In turn each is drained, as SIGTERM does it, and
replaced, while visitors never stop asking; half of them read slowly, so that answers are under way at every end. The
log is listened to as well: an error in it counts, and so does a connection that had to be broken off.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from dataclasses import dataclass, field

from pyconnector import Connector, ConnectorConfig
from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import config_for, tunnel
from tests.support.peers.load import under_load
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

#: Bytes of an answer, the bytes that a slow visitor takes at once, and its rest after them in seconds.
ANSWER = 60_000
SLOW_BYTES = 12_000
SLOW_REST = 0.02
#: Seconds that an origin thinks.
THINKING = 0.01
#: Seconds after which a new connector has to be there.
PATIENCE = 60.0


@dataclass(slots=True)
class Figures:
    """What was counted."""

    drains: int = 0
    requests: int = 0
    slow_requests: int = 0
    failed: int = 0
    log_errors: int = 0
    longest: float = 0.0
    total: float = field(default=0.0, repr=False)

    def __str__(self) -> str:
        mean = self.total / self.drains if self.drains else 0.0
        return (
            f"{self.drains} connectors ended in {mean * 1000:.0f} ms each ({self.longest * 1000:.0f} ms the longest), "
            f"{self.requests} requests of fast and {self.slow_requests} of slow visitors, {self.failed} failed, "
            f"{self.log_errors} errors logged"
        )


class _Errors(logging.Handler):
    def __init__(self, figures: Figures) -> None:
        super().__init__(logging.ERROR)
        self._figures = figures

    def emit(self, record: logging.LogRecord) -> None:
        self._figures.log_errors += 1


async def measure(drains: int, *, visitors: int = 16, engine: str = "aioquic") -> Figures:
    """End so many connectors under load."""
    figures = Figures()
    listening = _Errors(figures)
    logging.getLogger("pyconnector").addHandler(listening)
    try:
        async with raw_origin(_answer) as origin, LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
            rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
            await _run(edge, config_for(edge, rules, engine=engine), figures, drains, visitors)
    finally:
        logging.getLogger("pyconnector").removeHandler(listening)
    return figures


async def _run(edge: LocalEdge, config: ConnectorConfig, figures: Figures, drains: int, visitors: int) -> None:
    stop = asyncio.Event()
    running = [await _started(config) for _ in range(2)]
    try:
        async with asyncio.TaskGroup() as group:
            try:
                for _ in range(visitors // 2):
                    group.create_task(_slow(edge.visitor_address, figures, stop))
                async with under_load(edge.visitor_address, visitors=visitors - visitors // 2) as load:
                    for _ in range(drains):
                        old = running.pop(0)
                        begun = time.monotonic()
                        await old.drain()
                        lasted = time.monotonic() - begun
                        figures.longest, figures.total = max(figures.longest, lasted), figures.total + lasted
                        figures.drains += 1
                        await old.stop()
                        running.append(await _started(config))
                        await load.until(visitors)
                good = sum(
                    count for (status, body), count in load.answers.items() if (status, len(body)) == (200, ANSWER)
                )
                figures.requests = load.answers.total() + len(load.failures)
                figures.failed += figures.requests - good
            finally:
                stop.set()
    finally:
        for connector in running:
            await connector.stop()


async def _started(config: ConnectorConfig) -> Connector:
    connector = Connector(config)
    await connector.start()
    async with asyncio.timeout(PATIENCE):
        await connector.wait_ready()
    return connector


async def _slow(address: tuple[str, int], figures: Figures, stop: asyncio.Event) -> None:
    """Ask, and take the answer in small pieces with rests between them."""
    async with RawVisitor(address) as visitor:
        while not stop.is_set():
            figures.slow_requests += 1
            try:
                visitor.send(get("/slow", "load.test"))
                left = ANSWER if (await visitor.head()).status == 200 else -1
                while left > 0:
                    left -= len(await visitor.reader.readexactly(min(SLOW_BYTES, left)))
                    await asyncio.sleep(SLOW_REST)
            except (OSError, asyncio.IncompleteReadError):
                left = -1
            if left:
                figures.failed += 1
                return


async def _answer(peer: Peer) -> None:
    try:
        while True:
            await peer.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(THINKING)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ANSWER + b"x" * ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass


def main() -> int:
    """Measure as the command line says; 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.drains", description=__doc__)
    parser.add_argument("--drains", type=int, default=30)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--engine", default="aioquic", choices=("aioquic", "qh3"))
    options = parser.parse_args()
    figures = asyncio.run(measure(options.drains, visitors=options.visitors, engine=options.engine))
    print(figures)
    return 1 if figures.failed or figures.log_errors else 0


if __name__ == "__main__":
    sys.exit(main())
