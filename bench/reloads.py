"""Reloads under load: `python -m bench.reloads --reloads 1000`. How many requests and streams does that cost? None.

A local edge and a connector in this process; visitors who never stop asking, a WebSocket and a TCP stream that stay
open throughout. Each reload reads a config file that was written anew (other service, other settings, other order)
and puts it in force; then each stream has to carry one more message, and a request has to be answered by new rules.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from pyconnector import ConnectorConfig, load_config
from pyconnector.connector.background import in_background
from tests.support.houses.house import House, credentials, open_house
from tests.support.peers.load import Load, under_load
from tests.support.peers.raw_origin import answering, raw_origin

#: Seconds that one message of a stream may take on a starved machine.
PATIENCE = 60.0


@dataclass(slots=True)
class Figures:
    """What was counted."""

    reloads: int = 0
    requests: int = 0
    failed: int = 0
    websocket_messages: int = 0
    tcp_messages: int = 0
    seconds: float = 0.0
    longest_reload: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.reloads} reloads in {self.seconds:.1f} s ({self.longest_reload * 1000:.0f} ms the longest), "
            f"{self.requests} requests, {self.failed} failed; one WebSocket and one TCP stream open throughout: "
            f"{self.websocket_messages} and {self.tcp_messages} messages, none lost"
        )


def rules(number: int, http: tuple[int, int], streams: tuple[int, int]) -> str:
    """The config file as it reads after reload `number`: each differs from the one before in several ways."""
    named = [
        f"  - {{hostname: ws.test, service: 'http://127.0.0.1:{streams[0]}'}}",
        f"  - {{hostname: tcp.test, service: 'tcp://127.0.0.1:{streams[1]}'}}",
        f"  - {{hostname: other{number}.test, service: 'http_status:{200 + number % 50}'}}",
    ]
    return "\n".join(
        [
            "originRequest:",
            f"  connectTimeout: {10 + number % 7}s",
            "ingress:",
            *(reversed(named) if number % 2 else named),
            f"  - service: http://127.0.0.1:{http[number % 2]}",
            "",
        ]
    )


async def measure(reloads: int, *, visitors: int = 16, engine: str = "aioquic") -> Figures:
    """Reload so many times under load. Raises what a broken stream raises."""
    figures = Figures()
    bodies = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%b" % text for text in (b"one", b"two")]
    async with (
        raw_origin(answering(bodies[0])) as one,
        raw_origin(answering(bodies[1])) as two,
        serve(_echo_websocket, "127.0.0.1", 0) as websocket_origin,
        await asyncio.start_server(_echo_tcp, "127.0.0.1", 0) as tcp_origin,
    ):
        http = one.port, two.port
        streams = (
            next(iter(websocket_origin.sockets)).getsockname()[1],
            tcp_origin.sockets[0].getsockname()[1],
        )
        with tempfile.TemporaryDirectory(prefix="pyconnector-reloads-") as folder:
            file = Path(folder) / "config.yml"
            file.write_text(rules(0, http, streams))
            first = load_config(str(file), credentials=credentials())
            async with open_house([{"service": "http_status:404"}], engine=engine) as house:
                await _reload(house, first)
                await _run(house, figures, file, reloads, visitors, (http, streams))
    return figures


async def _run(
    house: House,
    figures: Figures,
    file: Path,
    reloads: int,
    visitors: int,
    ports: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    host, port = house.edge.visitor_address
    begun = time.monotonic()
    async with (
        connect("ws://ws.test/", host=host, port=port, proxy=None) as websocket,
        under_load(house.edge.visitor_address, visitors=visitors) as load,
    ):
        tcp_port = await house.edge.add_tcp_port("tcp.test")
        reader, writer = await asyncio.open_connection(host, tcp_port)
        for number in range(1, reloads + 1):
            file.write_text(rules(number, *ports))
            at = time.monotonic()
            config = await in_background(lambda: load_config(str(file), credentials=credentials()))
            await _reload(house, config)
            figures.longest_reload = max(figures.longest_reload, time.monotonic() - at)
            figures.reloads += 1
            async with asyncio.timeout(PATIENCE):
                message = b"%d\n" % number
                await websocket.send(message)
                assert await websocket.recv() == message
                figures.websocket_messages += 1
                writer.write(message)
                assert await reader.readline() == message
                figures.tcp_messages += 1
            await load.until(1)
        writer.close()
        _count(load, figures)
    figures.seconds = time.monotonic() - begun


async def _reload(house: House, config: ConnectorConfig) -> None:
    own = house.connector.config
    await house.connector.reload(_with_rules(own, config))


def _with_rules(own: ConnectorConfig, config: ConnectorConfig) -> ConnectorConfig:
    return replace(own, ingress=config.ingress, warp_routing=config.warp_routing)


def _count(load: Load, figures: Figures) -> None:
    figures.requests = load.answers.total() + len(load.failures)
    good = sum(count for (status, body), count in load.answers.items() if status == 200 and body in (b"one", b"two"))
    figures.failed = figures.requests - good


async def _echo_websocket(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _echo_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def main() -> int:
    """Measure as the command line says; 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.reloads", description=__doc__)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--engine", default="aioquic", choices=("aioquic", "qh3"))
    options = parser.parse_args()
    figures = asyncio.run(measure(options.reloads, visitors=options.visitors, engine=options.engine))
    print(figures)
    return 1 if figures.failed else 0


if __name__ == "__main__":
    sys.exit(main())
