"""`python -m bench.recovery`: how soon a connector is back after its network fails, and what visitors lose meanwhile.

Linux, with the right to make network namespaces. The edge is in one, the connector and its origin in another with two
uplinks (`tests/support/houses/namespaces.py`). 20 requests a second are sent into the tunnel, 2 s of patience each;
the fault lasts as long as it says, and requests go on until every connection is registered again, 30 s at least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID, Running, Subject, write_files
from bench.loads import load
from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings, VisitorSettings
from pyconnector.transport.settings import QuicSettings
from tests.support.houses.namespaces import FAR_ADDRESS, Network, network, run_apart, why_not

#: Seconds between two requests, and that each has.
PACE, PATIENCE = 0.05, 2.0
CONNECTIONS = 4
#: Seconds after a fault that are looked at: at least, and at most.
AFTERWARDS, LONGEST = 15.0, 90.0
HEADER = "| fault | engine | first good request, s | all registered, s | failed during | failed after |\n|" + "---|" * 6


@dataclass
class Stage:
    """Edge, connector and the requests between them."""

    here: Network
    edge: LocalEdge
    start: Callable[[], Awaitable[Running]]
    running: Running | None = None
    size: int = 1024
    good: list[float] = field(default_factory=list)
    bad: list[float] = field(default_factory=list)

    @property
    def registered(self) -> int:
        """How many connections the edge can send requests to."""
        tunnel = self.edge.tunnels.get(UUID(TUNNEL_ID))
        return len(tunnel.members) if tunnel is not None else 0

    async def wait_registered(self, count: int, seconds: float) -> float:
        """Return when so many were registered; infinite where they were not in time."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.registered >= count:
                return time.monotonic()
            await asyncio.sleep(0.02)
        return float("inf")

    async def ask(self) -> None:
        """One request, counted by when it was sent."""
        sent = time.monotonic()
        tunnel = self.edge.tunnels.get(UUID(TUNNEL_ID))
        try:
            assert tunnel is not None
            async with asyncio.timeout(PATIENCE):
                await load.download(self.size)(tunnel)
        except Exception:  # noqa: BLE001 - whatever it was, a visitor saw it fail
            self.bad.append(sent)
        else:
            self.good.append(sent)

    async def ask_for_ever(self) -> None:
        """Ask at the pace until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self.ask())
                await asyncio.sleep(PACE)


async def _link_down(stage: Stage, seconds: float) -> None:
    stage.here.link(0, "down")
    await asyncio.sleep(seconds)
    stage.here.link(0, "up")
    stage.here.route(0)


async def _silence(stage: Stage, seconds: float) -> None:
    stage.here.silence(True)
    await asyncio.sleep(seconds)
    stage.here.silence(False)


async def _prohibit(stage: Stage, seconds: float) -> None:
    stage.here.prohibit(FAR_ADDRESS)
    await asyncio.sleep(seconds)
    stage.here.permit(FAR_ADDRESS)


async def _readdress(stage: Stage, _: float) -> None:
    stage.here.readdress(0, "10.77.1.2", "10.77.1.77")


async def _other_uplink(stage: Stage, _: float) -> None:
    stage.here.link(0, "down")
    stage.here.route(1)


async def _shrink(stage: Stage, seconds: float) -> None:
    stage.here.shrink(1400, silently=True)
    await asyncio.sleep(seconds)


async def _pause(stage: Stage, seconds: float) -> None:
    assert stage.running is not None
    os.kill(stage.running.pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    os.kill(stage.running.pid, signal.SIGCONT)


async def _start_without_network(stage: Stage, seconds: float) -> None:
    stage.here.unroute()
    await stage.start()
    await asyncio.sleep(seconds)
    stage.here.route(0)


#: The one that begins before the connector does.
WITHOUT_NETWORK = "started without a network, up after 25 s"
#: Name, act, how long it lasts, bytes of an answer.
FAULTS: dict[str, tuple[Callable[[Stage, float], Awaitable[None]], float, int]] = {
    "link down 3 s": (_link_down, 3.0, 1024),
    "link down 30 s": (_link_down, 30.0, 1024),
    "answers dropped 30 s": (_silence, 30.0, 1024),
    "prohibited 30 s": (_prohibit, 30.0, 1024),
    "own address changes": (_readdress, 0.0, 1024),
    "first uplink down, route moves": (_other_uplink, 0.0, 1024),
    "packets above 1,400 bytes lost 30 s": (_shrink, 30.0, 100_000),
    WITHOUT_NETWORK: (_start_without_network, 25.0, 1024),
    "stopped 8 s": (_pause, 8.0, 1024),
    "stopped 20 s": (_pause, 20.0, 1024),
}


@asynccontextmanager
async def _staged(here: Network, subject: Subject, folder: Path) -> AsyncIterator[Stage]:
    here.enter(here.far)
    settings = EdgeSettings(
        address=(FAR_ADDRESS, 0),
        tunnels=(TunnelSettings(account_tag=ACCOUNT, tunnel_id=UUID(TUNNEL_ID), secret=SECRET),),
        visitors=VisitorSettings(address=("127.0.0.1", 0)),
        control=None,
        quic=QuicSettings(engine="aioquic"),
    )
    within = ["ip", "netns", "exec", here.site]
    async with LocalEdge(settings) as edge:
        origin = await asyncio.create_subprocess_exec(*within, sys.executable, "-m", "bench.house.origin", stdout=-1)
        try:
            assert origin.stdout is not None
            ports = json.loads(await origin.stdout.readline())
            write_files(folder, ca_pem=edge.ca_path.read_bytes(), http_port=ports["http"])
            host, port = edge.quic_address
            command = within + subject.command(
                folder, edges=[(host, port)] * (CONNECTIONS if subject.peer else 1), connections=CONNECTIONS
            )

            async def start() -> Running:
                stage.running = await Running.start(command, log=folder / "log")
                return stage.running

            stage = Stage(here, edge, start)
            try:
                yield stage
            finally:
                if stage.running is not None:
                    await stage.running.stop()
        finally:
            origin.kill()
            await origin.wait()


async def _measure(here: Network, subject: Subject, name: str) -> str:
    act, seconds, size = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix="pyconnector-bench-") as folder:
        async with _staged(here, subject, Path(folder)) as stage:
            if name != WITHOUT_NETWORK:
                await stage.start()
                if await stage.wait_registered(CONNECTIONS, 30.0) == float("inf"):
                    raise RuntimeError((Path(folder) / "log").read_text()[-2000:])
                await asyncio.sleep(1.5)
            stage.size = size
            asking = asyncio.ensure_future(stage.ask_for_ever())
            await asyncio.sleep(2.0)
            begun = time.monotonic()
            await act(stage, seconds)
            ended = time.monotonic()
            # A moment first: what ends because of the fault may not have ended yet.
            await asyncio.sleep(0.5)
            whole = await stage.wait_registered(CONNECTIONS, LONGEST)
            await asyncio.sleep(max(ended + AFTERWARDS - time.monotonic(), 0.0))
            again = await stage.wait_registered(CONNECTIONS, LONGEST)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            lost_later = again - ended > AFTERWARDS + 1.0
            registered = f"{(again if lost_later else whole) - ended:.0f}"
            first = min((at for at in stage.good if at >= ended), default=float("inf"))
            during = sum(begun - PATIENCE <= at < ended for at in stage.bad)
            after = sum(at >= ended for at in stage.bad)
            return f"| {name} | {subject.name} | {first - ended:.1f} | {registered} | {during} | {after} |"


def main() -> None:
    """Every fault on every engine, or those named."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("aioquic", "qh3"), help="default: both")
    parser.add_argument("--peer", default="", help="path of a peer's binary to measure beside")
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS), help="default: all")
    arguments = parser.parse_args()
    if why_not():
        raise SystemExit(why_not())
    subjects = [Subject(engine, engine=engine) for engine in arguments.engine or ("aioquic", "qh3")]
    if arguments.peer:
        subjects.append(Subject("peer", peer=arguments.peer))
    print(HEADER, flush=True)
    for name in arguments.fault or FAULTS:
        for subject in subjects:
            with network() as here:

                async def once(here: Network = here, subject: Subject = subject, name: str = name) -> None:
                    print(await _measure(here, subject, name), flush=True)

                run_apart(once)


if __name__ == "__main__":
    main()
