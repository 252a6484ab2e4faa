"""`python -m bench.gateway`: flows of the private-access gateway, beside a peer as the connector.

The edge with its gateway, the connector and the load with its services are a process each. A flow is CONNECT over
HTTP/1.1, a kilobyte to an echo service and back, and its end. Subjects take turns, round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.process import cpu_seconds, raise_file_limit, resident_bytes
from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID, Running, Subject, write_files
from pyconnector.identity.service_tokens import digest
from pyconnector.protocol.capsules import CapsuleReader, encode_udp_capsule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CLIENT_ID, TOKEN_SECRET = "0123456789abcdef0123456789abcdef.access", "of the bench"
BASIC = base64.b64encode(f"{CLIENT_ID}:{TOKEN_SECRET}".encode()).decode()
PIECE = bytes(256 * 1024)
#: Seconds for the connector to register.
REGISTER_TIMEOUT = 30.0


@dataclass(frozen=True)
class Stage:
    """What runs."""

    edge: Running
    connector: Running
    gateway: tuple[str, int]
    echo: int
    source: int
    udp: int

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a flow to a service."""
        return await self.asked(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n", b" 200 ")

    async def asked(self, line: str, wanted: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request and return its connection once it is answered as it should be."""
        reader, writer = await asyncio.open_connection(*self.gateway)
        writer.write(f"{line}Host: edge\r\nProxy-Authorization: Basic {BASIC}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if wanted not in head:
            raise SystemExit(f"the gateway answers {head.decode('latin-1')}")
        return reader, writer

    def cpu(self) -> tuple[float, float]:
        """Seconds of CPU of edge and connector so far."""
        return cpu_seconds(self.edge.pid), cpu_seconds(self.connector.pid)

    def resident(self) -> tuple[int, int]:
        """Their resident memory."""
        return resident_bytes(self.edge.pid), resident_bytes(self.connector.pid)


class UdpEcho(asyncio.DatagramProtocol):
    """The service of datagrams."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It listens."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self._transport.sendto(data, addr)  # type: ignore[attr-defined]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(PIECE)
            await writer.drain()
    writer.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def stage(subject: Subject) -> AsyncIterator[Stage]:
    """Edge, connector and services."""
    listen, visitors, gateway = _free_port(), _free_port(), _free_port()
    private = {
        "routes": [{"network": "127.0.0.0/8", "tunnel": TUNNEL_ID}],
        "gateway": {
            "http": f"127.0.0.1:{gateway}",
            "tokens": [{"client_id": CLIENT_ID, "name": "bench", "secret_sha256": digest(TOKEN_SECRET).hex()}],
            "rules": [{"action": "allow", "networks": ["127.0.0.0/8"]}],
        },
    }
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "private.json").write_text(json.dumps(private))
        (folder / "secret").write_text(base64.b64encode(SECRET).decode())
        command = [
            sys.executable, "-m", "pyconnector", "edge", "--listen", f"127.0.0.1:{listen}", "--control", "",
            "--visitors", f"127.0.0.1:{visitors}", "--tunnel", f"{TUNNEL_ID}:{ACCOUNT}:{folder / 'secret'}",
            "--private-network", str(folder / "private.json"), "--ca-dir", str(folder / "ca"), "--loglevel", "error",
        ]  # fmt: skip
        edge = await Running.start(command, log=folder / "edge.log")
        stack.push_async_callback(edge.stop)
        await _reached(gateway, folder / "edge.log", edge)
        write_files(folder, ca_pem=(folder / "ca" / "ca.pem").read_bytes(), http_port=1)
        connector = await Running.start(
            subject.command(folder, edges=[("127.0.0.1", listen)], connections=1), log=folder / "log"
        )
        stack.push_async_callback(connector.stop)
        echo, source = [
            await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            for serve in (_echo, _pour)
        ]
        udp, _ = await loop.create_datagram_endpoint(UdpEcho, local_addr=("127.0.0.1", 0))
        stack.callback(udp.close)
        made = Stage(
            edge, connector, ("127.0.0.1", gateway), echo.sockets[0].getsockname()[1],
            source.sockets[0].getsockname()[1], udp.get_extra_info("sockname")[1],
        )  # fmt: skip
        await _registered(made, folder / "log")
        yield made


async def _reached(port: int, log: Path, running: Running) -> None:
    async with asyncio.timeout(REGISTER_TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if running.exited:
                    raise SystemExit(log.read_text()) from None
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _registered(made: Stage, log: Path) -> None:
    async with asyncio.timeout(REGISTER_TIMEOUT):
        while True:
            try:
                _, writer = await made.connect(made.echo)
            except SystemExit:
                if made.connector.exited:
                    raise SystemExit(log.read_text()) from None
                await asyncio.sleep(0.2)
            else:
                writer.close()
                return


async def flows(made: Stage, seconds: float, at_once: int) -> tuple[float, ...]:
    """Short flows: their rate, and microseconds of CPU of edge and connector for each."""
    count, end = 0, time.monotonic() + seconds

    async def one_after_another() -> None:
        nonlocal count
        while time.monotonic() < end:
            reader, writer = await made.connect(made.echo)
            writer.write(bytes(1024))
            await reader.readexactly(1024)
            writer.close()
            count += 1

    return await _measured(made, lambda: count, 1e6, *(one_after_another for _ in range(at_once)))


async def throughput(made: Stage, seconds: float) -> tuple[float, ...]:
    """One flow that takes what it can: MB per second, and milliseconds of CPU for each."""
    reader, writer = await made.connect(made.source)
    moved, end = 0, time.monotonic() + seconds

    async def take() -> None:
        nonlocal moved
        while time.monotonic() < end:
            moved += len(await reader.read(1 << 20))

    found = await _measured(made, lambda: moved / 1e6, 1e3, take)
    writer.transport.abort()
    return found


async def datagrams(made: Stage, seconds: float, window: int) -> tuple[float, ...]:
    """One CONNECT-UDP with so many echoes on their way: their rate, and microseconds of CPU for each."""
    line = (
        f"GET /.well-known/masque/udp/127.0.0.1/{made.udp}/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"
    )
    reader, writer = await made.asked(line, b" 101 ")
    capsule, echoed, end = encode_udp_capsule(bytes(200)), 0, time.monotonic() + seconds

    async def keep() -> None:
        nonlocal echoed
        capsules = CapsuleReader()
        writer.write(capsule * window)
        while time.monotonic() < end:
            try:
                data = await asyncio.wait_for(reader.read(1 << 18), 0.25)
            except TimeoutError:
                writer.write(capsule * window)  # all were lost
                continue
            capsules.feed(data)
            came = 0
            while capsules.next() is not None:
                came += 1
            echoed += came
            writer.write(capsule * came)

    found = await _measured(made, lambda: echoed, 1e6, keep)
    writer.transport.abort()
    return found


async def held(made: Stage, count: int) -> tuple[float, ...]:
    """Flows that are held: KiB of edge and connector for each."""
    before = made.resident()
    kept = []
    for _ in range(0, count, 50):
        kept += await asyncio.gather(*(made.connect(made.echo) for _ in range(50)))
    after = made.resident()
    for _, writer in kept:
        writer.transport.abort()
    return float(len(kept)), *((now - then) / 1024 / len(kept) for now, then in zip(after, before, strict=True))


async def _measured(
    made: Stage, done: Callable[[], float], scale: float, *work: Callable[[], Awaitable[None]]
) -> tuple[float, ...]:
    before, begun = made.cpu(), time.monotonic()
    await asyncio.gather(*(each() for each in work))
    elapsed, after = time.monotonic() - begun, made.cpu()
    units = max(done(), 1e-9)
    return units / elapsed, *((now - then) / units * scale for now, then in zip(after, before, strict=True))


async def measure(subject: Subject, seconds: float) -> dict[str, tuple[float, ...]]:
    """Return every row of one subject: a rate or a count, then what it costs edge and connector."""
    async with stage(subject) as made:
        await flows(made, 0.5, 8)  # warm
        return {
            "short flows, 32 at once: per s, CPU µs": await flows(made, seconds, 32),
            "one flow, down: MB per s, CPU ms per MB": await throughput(made, seconds),
            "CONNECT-UDP, 200 bytes, 64 on their way: echoes per s, CPU µs": await datagrams(made, seconds, 64),
            "held flows: how many, KiB each": await held(made, 900),
        }


def main() -> None:
    """Every subject in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--peer", default="", help="a peer binary to measure beside ours")
    parser.add_argument("--engine", action="append", choices=("qh3", "aioquic"), help="of ours; default qh3")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise_file_limit()
    subjects = [Subject(f"ours, {engine}", engine=engine) for engine in given.engine or ("qh3",)]
    if given.peer:
        subjects.append(Subject("peer", peer=given.peer))
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for _ in range(given.rounds):
        for subject in subjects:
            for row, figures in asyncio.run(measure(subject, given.seconds)).items():
                found.setdefault((row, subject.name), []).append(figures)
    print("| row | connector | | edge | connector |\n|---|---|---|---|---|")
    for (row, name), runs in found.items():
        rate, edge, connector = (statistics.median(run[index] for run in runs) for index in range(3))
        print(f"| {row} | {name} | {rate:,.0f} | {edge:,.1f} | {connector:,.1f} |", flush=True)


if __name__ == "__main__":
    main()
