"""`python -m bench.datagrams`: UDP of the private network, datagrams per second and CPU per datagram, beside a peer.

An edge and a UDP echo service in this process, the connector in one of its own. A load keeps so many datagrams of each
flow on their way; where none comes back for a moment they count as lost, and others take their place. A unit is a
datagram to the service and its echo. Subjects take turns, slice by slice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.figures.process import cpu_seconds
from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID, Running, Subject, write_files
from pyconnector.edge import EdgeSettings, LocalEdge, PrivateRoute, TunnelSettings
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from pyconnector.edge.private.udp import PrivateUdp

#: Seconds after which a datagram on its way counts as lost.
LOST_AFTER = 0.25
V3 = ("--features", "support_datagram_v3_2")


@dataclass(frozen=True, slots=True)
class Load:
    """How much is on its way."""

    flows: int
    window: int
    size: int
    seconds: float


class Echo(asyncio.DatagramProtocol):
    """The service."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It listens."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self._transport.sendto(data, addr)


class Flow:
    """One flow of the load."""

    def __init__(self, load: Load) -> None:
        self.flow: PrivateUdp
        self.echoed = self.lost = 0
        self._payload = bytes(load.size)
        self._window = load.window
        self._since = 0

    def arrived(self, _: bytes) -> None:
        """An echo came: send the next."""
        self.echoed += 1
        self.flow.send(self._payload)

    def fill(self) -> None:
        """Send what is missing of the window, if nothing came since the last look."""
        if self.echoed == self._since:
            self.lost += self._window if self.echoed else 0
            for _ in range(self._window):
                self.flow.send(self._payload)
        self._since = self.echoed


@contextlib.asynccontextmanager
async def stage(subject: Subject, version: int) -> AsyncIterator[tuple[LocalEdge, Running, int]]:
    """Edge, connector and service."""
    tunnel_id = uuid.UUID(TUNNEL_ID)
    settings = EdgeSettings(
        tunnels=(TunnelSettings(account_tag=ACCOUNT, tunnel_id=tunnel_id, secret=SECRET),),
        control=None,
        private_routes=(PrivateRoute(network=ip_network("127.0.0.0/8"), tunnel_id=tunnel_id),),
        quic=QuicSettings(engine="qh3"),
    )
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as name:
        async with LocalEdge(settings) as edge:
            transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
            write_files(Path(name), ca_pem=edge.ca_pem, http_port=1)
            command = subject.command(Path(name), edges=[edge.quic_address], connections=1)
            command += V3 if version == 3 else ()
            running = await Running.start(command, log=Path(name) / "log")
            try:
                async with asyncio.timeout(30):
                    while not any(each.state == "registered" for each in edge.connectors.all()):
                        if running.exited:
                            raise SystemExit((Path(name) / "log").read_text())
                        await asyncio.sleep(0.05)
                yield edge, running, transport.get_extra_info("sockname")[1]
            finally:
                await running.stop()
                transport.close()


async def measure(subject: Subject, version: int, load: Load) -> tuple[float, float, float]:
    """Return echoes per second, microseconds of the connector's CPU for each, and the share that was lost."""
    async with stage(subject, version) as (edge, running, port):
        assert edge.private is not None
        destination = await edge.private.find("127.0.0.1", port)
        flows = [Flow(load) for _ in range(load.flows)]
        for flow in flows:
            flow.flow = await edge.private.open_udp(destination, on_data=flow.arrived, on_end=lambda reason: None)
            flow.fill()
        await asyncio.sleep(0.5)
        before, cpu, begun = sum(flow.echoed for flow in flows), cpu_seconds(running.pid), time.monotonic()
        while (elapsed := time.monotonic() - begun) < load.seconds:
            await asyncio.sleep(LOST_AFTER)
            for flow in flows:
                flow.fill()
        spent = cpu_seconds(running.pid) - cpu
        count = max(1, sum(flow.echoed for flow in flows) - before)
        lost = sum(flow.lost + flow.flow.dropped for flow in flows)
        return count / elapsed, spent / count * 1e6, lost / (count + lost)


def main() -> None:
    """Every subject and version in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.datagrams", description=__doc__)
    parser.add_argument("--peer", default="", help="a peer binary to measure beside ours")
    parser.add_argument("--engine", action="append", choices=("qh3", "aioquic"), help="of ours; default both")
    parser.add_argument("--flows", type=int, default=16)
    parser.add_argument("--window", type=int, default=4, help="datagrams of each flow on their way")
    parser.add_argument("--size", type=int, default=200, help="bytes of each")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    load = Load(given.flows, given.window, given.size, given.seconds)
    subjects = [Subject(f"ours, {engine}", engine=engine) for engine in given.engine or ("qh3", "aioquic")]
    if given.peer:
        subjects.append(Subject("peer", peer=given.peer))
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for _ in range(given.rounds):
        for version in (2, 3):
            for subject in subjects:
                figures = asyncio.run(measure(subject, version, load))
                found.setdefault((subject.name, version), []).append(figures)
    print("| connector | version | echoes per s | CPU per echo, us | lost |\n|---|---|---|---|---|")
    for (name, version), runs in found.items():
        rate, cpu, lost = (statistics.median(run[index] for run in runs) for index in range(3))
        print(f"| {name} | {version} | {rate:,.0f} | {cpu:.1f} | {lost:.2%} |")


if __name__ == "__main__":
    main()
