"""`python -m bench.ticks`: what the way through edge and connector adds to each tick of a stream of 10 ms ticks.

Origin, connectors, and edges with their visitors are processes of their own. Each tick says when it was sent, by the
clock that all processes share; "direct" are visitors of the origin itself. Subjects take turns, medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

from bench.house.stage import Child
from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID, Running, Subject, write_files
from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings

INTERVAL = 0.01
#: Seconds that a connector has to register.
START_TIMEOUT = 30.0
#: Seconds of a stream that are not counted: connections open, code is read for the first time.
WARM_UP = 0.5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def tick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one visitor: a chunk every 10 ms that holds the time, until the visitor is gone."""
    loop = asyncio.get_running_loop()
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, RuntimeError):  # the last is uvloop's
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            due = loop.time()
            while not writer.is_closing():
                due += INTERVAL
                await asyncio.sleep(due - loop.time())
                data = b"data: %d\n\n" % time.monotonic_ns()
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
    finally:
        writer.close()


async def serve_origin() -> None:
    """Listen on a port of the system's choice, say which, and never return."""
    server = await asyncio.start_server(tick, "127.0.0.1", 0)
    print(json.dumps({"http": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


async def visit(address: tuple[str, int], seconds: float) -> list[float]:
    """Read ticks for so long, and return how old each was when it arrived, in seconds."""
    reader, writer = await asyncio.open_connection(*address)
    ages = []
    try:
        writer.write(b"GET /ticks HTTP/1.1\r\nHost: bench.test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise RuntimeError(head.decode("latin-1"))
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: ") and now - began > WARM_UP:
                ages.append((time.monotonic_ns() - int(line[6:])) / 1e9)
    finally:
        writer.close()
    return ages


async def slice_of(address: tuple[str, int], streams: int, seconds: float) -> tuple[float, float, float]:
    """p50 and p99 in milliseconds, and the share of ticks that came."""
    found = await asyncio.gather(*(visit(address, seconds) for _ in range(streams)))
    ages = sorted(age * 1e3 for one in found for age in one)
    expected = streams * (seconds - WARM_UP) / INTERVAL
    return ages[len(ages) // 2], ages[len(ages) * 99 // 100], len(ages) / expected


async def run(arguments: argparse.Namespace) -> None:
    """Every subject with every number of streams."""
    subjects = [Subject(engine, engine=engine) for engine in arguments.engine]
    if arguments.peer:
        subjects.append(Subject("peer", peer=str(Path(arguments.peer).resolve())))
    async with contextlib.AsyncExitStack() as stack:
        origin, ports = await Child.start("bench.ticks", "--origin")
        stack.push_async_callback(origin.stop)
        ways = {"direct": ("127.0.0.1", int(ports["http"]))}
        for subject in subjects:
            ways[subject.name] = await _connected(stack, subject, int(ports["http"]))
        print("| way | streams | p50, ms | p99, ms | ticks that came |\n|---|---|---|---|---|")
        for streams in arguments.streams:
            slices: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
            for _ in range(arguments.rounds):
                for name, address in ways.items():
                    slices[name].append(await slice_of(address, streams, arguments.seconds))
            for name, figures in slices.items():
                p50, p99, came = (statistics.median(column) for column in zip(*figures, strict=True))
                print(f"| {name} | {streams} | {p50:.2f} | {p99:.2f} | {came:.1%} |", flush=True)


async def _connected(stack: contextlib.AsyncExitStack, subject: Subject, http_port: int) -> tuple[str, int]:
    """Start an edge and `subject` on it, and return where visitors go."""
    tunnel = TunnelSettings(account_tag=ACCOUNT, tunnel_id=UUID(TUNNEL_ID), secret=SECRET)
    edge = await stack.enter_async_context(LocalEdge(EdgeSettings(tunnels=(tunnel,), control=None)))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyconnector-ticks-")))
    write_files(folder, ca_pem=Path(edge.ca_path).read_bytes(), http_port=http_port)
    command = subject.command(folder, edges=[edge.quic_address], connections=1)
    running = await Running.start(command, log=folder / "log")
    stack.push_async_callback(running.stop)
    await _registered(edge)
    return edge.visitor_address


async def _registered(edge: LocalEdge) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while (tunnel := edge.tunnels.get(UUID(TUNNEL_ID))) is None or not tunnel.members:
            await asyncio.sleep(0.02)


def main() -> None:
    """Measure, or be the origin."""
    engines = ["aioquic", *(["qh3"] if find_spec("qh3") else [])]
    parser = argparse.ArgumentParser(prog="python -m bench.ticks", description=__doc__)
    parser.add_argument("--engine", action="append", choices=engines, help="default: every installed one")
    parser.add_argument("--peer", metavar="PATH", help="a cloudflared binary to measure beside")
    parser.add_argument("--streams", type=int, action="append", help="visitors at once (default: 1 and 10)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each slice (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="slices of each row (default 5)")
    parser.add_argument("--origin", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.engine = arguments.engine or engines
    arguments.streams = arguments.streams or [1, 10]
    main_coroutine = serve_origin() if arguments.origin else run(arguments)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main_coroutine)
    else:
        uvloop.run(main_coroutine)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
