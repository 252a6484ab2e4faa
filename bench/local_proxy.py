"""`python -m bench.local_proxy`: what the local proxy of `mesh join` costs, over HTTP/2 and with a connection a flow.

Edge with a gateway (TLS), service and load in this process, the connector and the proxy in one of their own each.
Transfers go in one direction; a flow of the flow row is opened, asks for a byte, gets it and is closed; memory is what
a held flow adds to the proxy. Subjects take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from bench.figures.process import cpu_seconds, raise_file_limit, resident_bytes
from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID, Running, Subject, write_files
from pyconnector.edge import EdgeSettings, LocalEdge, PrivateRoute, TunnelSettings
from pyconnector.edge.private.gateway.settings import GatewaySettings
from pyconnector.identity.network_rules import parse_rule
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken, digest
from pyconnector.transport.settings import QuicSettings

CLIENT_ID, TOKEN = f"{'b' * 32}.access", "a secret of the bench"
PIECE = bytes(256 * 1024)
#: What the service does for a connection, told by its first byte.
ECHO, DOWN, UP = b"e", b"d", b"u"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much."""

    transfers: int
    "Bytes of each."
    at_once: int
    flows: int
    held: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the proxy and the service are."""

    proxy: tuple[str, int]
    pid: int
    service: int


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The service."""
    with contextlib.suppress(ConnectionError, EOFError):
        what = await reader.readexactly(1)
        if what == DOWN:
            left = int(await reader.readline())
            while left > 0:
                writer.write(PIECE[:left])
                left -= len(PIECE)
                await writer.drain()
        elif what == UP:
            left = int(await reader.readline())
            while left > 0:
                left -= len(await reader.read(len(PIECE)))
            writer.write(b"\n")
        else:
            while data := await reader.read(1024):
                writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def stage(*flags: str) -> AsyncIterator[Stage]:
    """Everything, ready."""
    tunnel_id = uuid.UUID(TUNNEL_ID)
    token = ServiceToken(
        id=CLIENT_ID, client_id=CLIENT_ID, name="bench", secrets=(SecretDigest(sha256=digest(TOKEN)),)
    )  # fmt: skip
    loopback = "127.0.0.0/8"
    gateway = GatewaySettings(
        http=("127.0.0.1", 0), tokens=(token,), own_certificate=True,
        rules=(parse_rule("1", {"action": "allow", "networks": [loopback]}),),
    )  # fmt: skip
    settings = EdgeSettings(
        tunnels=(TunnelSettings(account_tag=ACCOUNT, tunnel_id=tunnel_id, secret=SECRET),), control=None,
        private_routes=(PrivateRoute(network=ip_network(loopback), tunnel_id=tunnel_id),), gateway=gateway,
        quic=QuicSettings(engine="qh3"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with service, LocalEdge(settings) as edge:
            write_files(folder, ca_pem=edge.ca_pem, http_port=1)
            command = Subject("ours", engine="qh3").command(folder, edges=[edge.quic_address], connections=1)
            connector = await Running.start(command, log=folder / "log")
            (folder / "token.json").write_text(json.dumps({"client_id": CLIENT_ID, "client_secret": TOKEN}))
            (folder / "token.json").chmod(0o600)
            (folder / "ca.pem").write_bytes(edge.ca_pem)
            assert edge.gateway is not None
            assert edge.gateway.http_address is not None
            proxy = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pyconnector", "mesh", "join",
                f"https://localhost:{edge.gateway.http_address[1]}", "--token-file", str(folder / "token.json"),
                "--cacert", str(folder / "ca.pem"), "--listen", "127.0.0.1:0", *flags, stdout=-1,
                env=os.environ | {"HOME": name},
            )  # fmt: skip
            assert proxy.stdout is not None
            try:
                async with asyncio.timeout(30):
                    while not any(each.state == "registered" for each in edge.connectors.all()):
                        await asyncio.sleep(0.05)
                    where = (await proxy.stdout.readline()).decode().split("http://")[1].strip().rpartition(":")
                yield Stage((where[0], int(where[2])), proxy.pid, service.sockets[0].getsockname()[1])
            finally:
                proxy.terminate()
                await proxy.wait()
                await connector.stop()


async def opened(at: Stage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the service through the proxy."""
    reader, writer = await asyncio.open_connection(*at.proxy, limit=len(PIECE))
    writer.write(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + at.service.to_bytes(2, "big"))
    reply = await reader.readexactly(12)
    if reply[3]:
        raise SystemExit(f"the proxy refuses: {reply[3]}")
    return reader, writer


async def download(at: Stage, size: int) -> None:
    """Take bytes of the service."""
    reader, writer = await opened(at)
    writer.write(DOWN + b"%d\n" % size)
    while size > 0:
        data = await reader.read(len(PIECE))
        if not data:
            raise SystemExit("a download was cut off")
        size -= len(data)
    writer.close()


async def upload(at: Stage, size: int) -> None:
    """Give it bytes."""
    reader, writer = await opened(at)
    writer.write(UP + b"%d\n" % size)
    while size > 0:
        writer.write(PIECE[:size])
        size -= len(PIECE)
        await writer.drain()
    await reader.readexactly(1)
    writer.close()


async def flow(at: Stage, _: int) -> None:
    """One short flow."""
    reader, writer = await opened(at)
    writer.write(ECHO + b"x")
    await reader.readexactly(1)
    writer.close()


async def timed(at: Stage, work: Callable[[Stage, int], Awaitable[None]], each: int, count: int, at_once: int) -> Row:
    """Do `count` of it, `at_once`; return seconds and seconds of the proxy's CPU."""
    waiting = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with waiting:
            await work(at, each)

    cpu, begun = cpu_seconds(at.pid), time.monotonic()
    await asyncio.gather(*(one() for _ in range(count)))
    return time.monotonic() - begun, cpu_seconds(at.pid) - cpu


Row = tuple[float, float]


async def measure(plan: Plan, *flags: str) -> dict[str, Row]:
    """Return each row's figure and what it cost: MB/s and ms of CPU per MB, flows per s and us, KB a held flow."""
    found: dict[str, Row] = {}
    async with stage(*flags) as at:
        await timed(at, flow, 0, 20, 4)
        before, held = resident_bytes(at.pid), [await opened(at) for _ in range(plan.held)]
        found["a held flow"] = ((resident_bytes(at.pid) - before) / plan.held / 1024, 0.0)
        for _, writer in held:
            writer.close()
        megabytes = plan.transfers * plan.at_once / 1e6
        for name, work, count in (
            ("down, 1 flow", download, 1), (f"down, {plan.at_once} flows", download, plan.at_once),
            ("up, 1 flow", upload, 1), (f"up, {plan.at_once} flows", upload, plan.at_once),
        ):  # fmt: skip
            seconds, cpu = await timed(at, work, int(megabytes / count * 1e6), count, count)
            found[name] = (megabytes / seconds, cpu / megabytes * 1e3)
        seconds, cpu = await timed(at, flow, 0, plan.flows, 32)
        found["short flows, 32 at once"] = (plan.flows / seconds, cpu / plan.flows * 1e6)
    return found


#: What carries flows between proxy and gateway, and the options that choose it.
WAYS = (
    ("one QUIC connection", ("--protocol", "quic")),
    ("one HTTP/2 connection", ("--protocol", "http2")),
    ("a connection a flow", ("--no-http2",)),
)


def main() -> None:
    """Both ways in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.local_proxy", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100, help="of each flow of the transfers of several")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--flows", type=int, default=500)
    parser.add_argument("--held", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise_file_limit()
    plan = Plan(given.megabytes * 1_000_000, given.at_once, given.flows, given.held)
    found: dict[tuple[str, str], list[Row]] = {}
    for _ in range(given.rounds):
        for way, flags in WAYS:
            for row, figures in asyncio.run(measure(plan, *flags)).items():
                found.setdefault((row, way), []).append(figures)
    for (row, way), runs in sorted(found.items()):
        figure, cost = (statistics.median(column) for column in zip(*runs, strict=True))
        unit, per = ("KB", "") if "held" in row else ("per s", "us") if "short" in row else ("MB/s", "ms per MB")
        print(f"{row:<26}{way:<24}{figure:>9,.1f} {unit:<7}" + (f"{cost:>9,.1f} {per} of CPU" if per else ""))


if __name__ == "__main__":
    main()
