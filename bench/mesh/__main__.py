"""`python -m bench.mesh`: many objects in one control plane (SQLite), and two edges of which one passes requests on.

Time to decide, memory of an edge, time from an API call to its effect, and a request by way of another edge beside a
direct one. Everything is on this machine: control plane, edges and connector share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx

from bench.figures.process import cpu_model, resident_bytes
from bench.mesh.decide import decisions
from bench.mesh.fill import fill
from pyconnector.control.settings import DATABASE_FILE
from pyconnector.control.store.database import Database, sqlite_url
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import Process, pyconnector

ZONE = "bench.example"
#: Seconds that anything may take.
PATIENCE = 120.0
#: Calls whose effect is timed.
EFFECTS = 20


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.mesh", description=__doc__)
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--hostnames", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=3000, help="of each row of the two edges")
    return parser.parse_args()


@contextlib.asynccontextmanager
async def edge(url: str, token: Path) -> AsyncIterator[tuple[Process, tuple[str, int], list[str]]]:
    """An edge in a process of its own: where its visitors go, and what a connector needs to reach it."""
    options = ("--listen", "127.0.0.1:0", "--visitors", "127.0.0.1:0", "--join", "--loglevel", "warn")
    async with pyconnector("edge", "--control", url, "--control-token-file", token, *options) as process:
        words = (await process.line("connectors:")).split()
        host, _, port = (await process.line("visitors:")).split("http://")[1].rstrip("/").rpartition(":")
        yield process, (host, int(port)), words[1:5]


async def until(condition: Callable[[], Awaitable[bool]]) -> float:
    """Wait until a coroutine returns something true; return when, by `time.perf_counter`."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.001)
    return time.perf_counter()


async def status(visitor: RawVisitor, host: str) -> int:
    """Of one request."""
    return (await visitor.request(get("/", host))).status


async def latencies(address: tuple[str, int], host: str, count: int, in_flight: int) -> tuple[float, float, float]:
    """Median and 99th percentile in milliseconds, and requests a second."""
    taken: list[float] = []

    async def visit() -> None:
        async with RawVisitor(address) as visitor:
            for _ in range(count // in_flight):
                begun = time.perf_counter()
                assert await status(visitor, host) == 200
                taken.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(visit() for _ in range(in_flight)))
    rate = len(taken) / (time.perf_counter() - begun)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98], rate


async def effects(api: httpx.AsyncClient, address: tuple[str, int], routes: str) -> list[float]:
    """Milliseconds from the call that routes a name to the first request that is served under it."""
    taken = []
    async with RawVisitor(address) as visitor:
        for number in range(EFFECTS):
            host = f"new-{number}.{ZONE}"
            begun = time.perf_counter()
            answer = await api.put(routes, json={"type": "dns", "user_hostname": host})
            assert answer.status_code == 200, answer.text
            taken.append(1000 * (await until(partial(_is_served, visitor, host)) - begun))
    return taken


async def _is_served(visitor: RawVisitor, host: str) -> bool:
    return await status(visitor, host) == 200


async def measure(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """All rows. Cancel leaves no process."""
    wanted = {"routes": arguments.routes, "hostnames": arguments.hostnames}
    with tempfile.TemporaryDirectory(prefix="pyconnector-bench-") as folder:
        data = Path(folder) / "data"
        options = ("--json", "--data-dir", data, "--zone", ZONE, "--api", "127.0.0.1:0", "--loglevel", "warn")
        async with contextlib.AsyncExitStack() as stack:
            plane = await stack.enter_async_context(pyconnector("control", *options))
            told = json.loads(await plane.line('{"api_url"'))
            url, token = told["api_url"].removesuffix("/client/v4"), data / "edge-token"
            async with edge(url, token) as (process, _, _):
                empty = resident_bytes(process.pid)
            database = Database(sqlite_url(data / DATABASE_FILE))
            await fill(database, told, tunnels=arguments.tunnels, **wanted)
            await database.close()
            rows = await decisions(url, token.read_text().strip(), ZONE, **wanted)
            headers = {"Authorization": f"Bearer {told['api_token']}"}
            api = await stack.enter_async_context(httpx.AsyncClient(base_url=told["api_url"], headers=headers))
            return rows + await with_edges(stack, api, told, token, empty, arguments.requests)


async def with_edges(
    stack: contextlib.AsyncExitStack,
    api: httpx.AsyncClient,
    told: dict[str, str],
    token: Path,
    empty: int,
    requests: int,
) -> list[tuple[str, str]]:
    """The rows of two edges and a connector at one of them, all of them of `stack`. Cancel leaves them to it."""
    url, host = told["api_url"].removesuffix("/client/v4"), f"served.{ZONE}"
    begun = time.perf_counter()
    process, direct, dial = await stack.enter_async_context(edge(url, token))
    _, other, _ = await stack.enter_async_context(edge(url, token))
    made = (await api.post(f"/accounts/{told['account_id']}/cfd_tunnel", json={"name": "served"})).json()["result"]
    routes = f"/zones/{told['zone_id']}/tunnels/{made['id']}/routes"
    await api.put(routes, json={"type": "dns", "user_hostname": host})
    connector = ("run", *dial, "--hello-world", "--ha-connections", "1", "--metrics", "127.0.0.1:0")
    await stack.enter_async_context(pyconnector(*connector, TUNNEL_TOKEN=made["token"], HOME=str(token.parent)))
    for address in (direct, other):
        async with RawVisitor(address) as visitor:
            await until(partial(_is_served, visitor, host))
    rows = [("two edges and a connector, until both serve", f"{time.perf_counter() - begun:.1f} s")]
    full = resident_bytes(process.pid)
    rows.append(("memory of an edge, empty / with all", f"{empty / 2**20:.0f} / {full / 2**20:.0f} MiB"))
    taken = await effects(api, direct, routes)
    figures = f"{statistics.median(taken):.0f} / {max(taken):.0f} ms"
    rows.append(("a name by API until it is served: median / most", figures))
    for in_flight in (1, 32):
        for name, address in (("direct", direct), ("by way of another edge", other)):
            median, late, rate = await latencies(address, host, requests, in_flight)
            row = f"request, {in_flight} in flight, {name}: p50 / p99 / rate"
            rows.append((row, f"{median:.2f} / {late:.2f} ms / {rate:.0f} per s"))
    return rows


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    rows = asyncio.run(measure(arguments))
    told = {"python": platform.python_version(), "processor": cpu_model(), **vars(arguments)}
    print(json.dumps(told))
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name.ljust(width)}  {figure}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
