"""The local edge and the load in a process of their own, told what to do by JSON lines on stdin.

Each command line gets one answer line. The connector under test is another process, so its CPU time is its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from bench.hop import Mesh, visitors_request
from bench.house.subject import ACCOUNT, SECRET, TUNNEL_ID
from bench.loads import http2_load, load, slow
from pyconnector.connector.cli.loops import settle
from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings, VisitorSettings
from pyconnector.edge.faults.relay import Faults
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from pyconnector.edge.connectors.connection import EdgeConnection
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.connectors.tunnels import Member, Tunnel

#: Seconds that a connector has to register.
REGISTER_TIMEOUT = 30.0


class EdgeProcess:
    """One edge with one tunnel, and what is held open on it."""

    def __init__(self, edge: LocalEdge) -> None:
        self._edge = edge
        self._held: list[Exchange] = []
        self._mesh: Mesh | None = None
        self._through: Member | None = None

    @property
    def _tunnel(self) -> Tunnel:
        tunnel = self._edge.tunnels.get(UUID(TUNNEL_ID))
        assert tunnel is not None
        return tunnel

    @property
    def _is_http2(self) -> bool:
        return self._edge.settings.protocols == ("http2",)

    def addresses(self) -> dict[str, Any]:
        """What the parent must know to start a connector."""
        return {
            "quic": list(self._edge.quic_address),
            "ca": str(self._edge.ca_path),
            "visitors": list(self._edge.visitor_address),
        }

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what `command` says and return its figures."""
        name = str(command.pop("do"))
        method = getattr(self, f"do_{name}")
        result = await method(**command)
        return dict(result or {})

    async def do_wait(self, connections: int) -> dict[str, Any]:
        """Wait until so many connections are registered (0: until all are gone); when that was, by the clock that all
        processes share."""
        limit = time.monotonic() + REGISTER_TIMEOUT
        while (len(self._tunnel.members) < connections) or (not connections and self._tunnel.members):
            if time.monotonic() > limit:
                raise TimeoutError(f"{len(self._tunnel.members)} of {connections} connections registered")
            await asyncio.sleep(0.001)
        return {"monotonic": time.monotonic()}

    async def do_udp(self) -> dict[str, Any]:
        """Datagrams that the edge's socket sent and received so far."""
        for member in self._tunnel.members:
            counts = cast("EdgeConnection", member).transport.statistics().udp
            if counts is not None:  # one socket for all
                return {"sent": counts.sent, "received": counts.received}
        return {"sent": 0, "received": 0}

    async def do_drop(self) -> None:
        """Close every connection, so that one whose process is gone is not waited for."""
        for member in tuple(self._tunnel.members):
            cast("EdgeConnection", member).transport.close()
        await self.do_wait(connections=0)

    async def do_faults(self, loss: float = 0.0, delay: float = 0.0, seed: int = 1) -> None:
        """Lose and delay packets from now on."""
        assert self._edge.relay is not None
        self._edge.relay.set(Faults(loss=loss, delay=delay, seed=seed))

    async def do_download(self, size: int, in_flight: int, seconds: float = 0.0, count: int = 0) -> dict[str, Any]:
        """GETs of `size` bytes."""
        unit = (http2_load if self._is_http2 else load).download(size)
        return _figures(await load.repeat(unit, self._tunnel, in_flight=in_flight, seconds=seconds, count=count))

    async def do_upload(self, size: int, in_flight: int, seconds: float = 0.0, count: int = 0) -> dict[str, Any]:
        """POSTs of `size` bytes."""
        unit = (http2_load if self._is_http2 else load).upload(size)
        return _figures(await load.repeat(unit, self._tunnel, in_flight=in_flight, seconds=seconds, count=count))

    async def do_exchange(self, hop: bool, in_flight: int, seconds: float) -> dict[str, Any]:
        """GETs on the way of visitors, perhaps through another edge."""
        if hop and self._through is None:
            self._mesh = Mesh(self._edge.tunnels)
            self._through = await self._mesh.member()
        unit = visitors_request(self._through if hop else None)
        return _figures(await load.repeat(unit, self._tunnel, in_flight=in_flight, seconds=seconds))

    async def do_first_byte(self, seconds: float) -> dict[str, Any]:
        """Streamed responses."""
        return _figures(await load.first_byte(self._tunnel, seconds=seconds))

    async def do_ping_pong(self, in_flight: int, seconds: float, destination: str | None = None) -> dict[str, Any]:
        """64 bytes to and fro."""
        return _figures(
            await load.ping_pong(self._tunnel, in_flight=in_flight, seconds=seconds, destination=destination)
        )

    async def do_slow(
        self, case: str, streams: int, pace: int, windows: int, settle: float, patience: float, destination: str
    ) -> dict[str, Any]:
        """Slow exchanges, and how a quick neighbour fares beside them in each of so many `windows` of a second."""
        work = []
        for _ in range(streams):
            if case == "upload":
                work.append(slow.offered_upload(self._tunnel, pace))
            elif case == "download":
                work.append(slow.slow_download(self._tunnel, pace))
            else:
                work.append(slow.stalled_stream(self._tunnel, destination))
        return await slow.beside(self._tunnel, work, windows=windows, settle=settle, patience=patience)

    async def do_hold(self, streams: int, destination: str) -> None:
        """Open TCP streams and keep them."""
        for start in range(0, streams, 50):
            count = min(50, streams - start)
            self._held += await asyncio.gather(*(load.open_tcp(self._tunnel, destination) for _ in range(count)))

    async def do_release(self) -> None:
        """Let go of every held stream."""
        for exchange in self._held:
            exchange.abort()
        self._held.clear()


def _figures(outcome: load.Outcome) -> dict[str, Any]:
    latencies = sorted(outcome.latencies)
    count = len(latencies)
    if not count:
        return {"count": 0, "failures": outcome.failures, "elapsed": outcome.elapsed}
    return {
        "count": count,
        "failures": outcome.failures,
        "elapsed": outcome.elapsed,
        "bytes": outcome.bytes_moved,
        "p50": latencies[count // 2],
        "p99": latencies[min(count - 1, count * 99 // 100)],
        "rate": count / outcome.elapsed,
    }


async def serve(engine: str, relay: bool) -> None:
    """Start the edge, say where it is, and answer commands until stdin ends."""
    protocol: Any = {"protocols": ("http2",)} if engine == "http2" else {"quic": QuicSettings(engine=engine)}
    settings = EdgeSettings(
        tunnels=(TunnelSettings(account_tag=ACCOUNT, tunnel_id=UUID(TUNNEL_ID), secret=SECRET),),
        visitors=VisitorSettings(address=("127.0.0.1", 0)),
        control=None,
        fault_relay=relay,
        **protocol,
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with LocalEdge(settings) as edge:
        process = EdgeProcess(edge)
        settle()  # a look at everything loaded takes 25 ms, and would be taken for the connector's slowest answers
        print(json.dumps(process.addresses()), flush=True)
        while line := await reader.readline():
            try:
                answer = await process.run(json.loads(line))
            except Exception as error:  # noqa: BLE001 - the parent decides what a failure means
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


def main() -> None:
    """Arguments: the edge's engine, or `http2` for that protocol in place of QUIC, and `relay` for a lossy path."""
    engine, relay = sys.argv[1], "relay" in sys.argv[2:]
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(engine, relay))
    else:
        uvloop.run(serve(engine, relay))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
