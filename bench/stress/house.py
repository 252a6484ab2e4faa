"""Edge, connector and origins under stress, in this process, and what may be done to them while they serve."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stress.origins.grpc import GrpcOrigin
from bench.stress.origins.http1 import HttpOrigin
from bench.stress.origins.server import Server
from bench.stress.origins.tcp import TcpOrigin
from bench.stress.visitors.base import Places
from pyconnector import Connector, ConnectorConfig
from pyconnector.connector.workers.fleet import Fleet
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.settings import TcpPort, VisitorSettings
from pyconnector.transport.settings import QuicSettings
from tests.support.houses.house import Eager, config_for, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.stress.ledger import Ledger
    from bench.stress.patience import Patience

#: Transports that a house can be built on.
TRANSPORTS = ("quic", "http2")
#: Connections of the connector.
CONNECTIONS = 4
#: Seconds (of `Patience`) until the house has to be whole again after a disturbance.
COMES_BACK = 30.0
#: Seconds that a connection may hear nothing, and calls may take: wide, for a starved machine is not what is tried.
WIDE = 20.0
#: How long an idle connection to an origin is kept: short, so that what is left behind shows soon.
KEEP_ALIVE = "1s"


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseOptions:
    """What the house is built of."""

    engine: str = "aioquic"
    edge_engine: str = "aioquic"
    transport: str = "quic"
    workers: int = 1
    "Processes of the connector, where it is not in this one."


class Origins:
    """Every origin, and how many connections they hold."""

    def __init__(self, ledger: Ledger, *, announces: bool = False) -> None:
        """`announces`: see `HttpOrigin`."""
        self._announces = announces
        self._exit = contextlib.AsyncExitStack()
        self._ledger = ledger
        self._grpc: dict[str, set[GrpcOrigin]] = {}
        self._servers: dict[str, Server] = {}
        self.ports: dict[str, int] = {}

    async def __aenter__(self) -> Origins:
        for name in ("http", "http-new", "last"):
            # What goes to the last one can be sent again. A request with a body cannot, and would meet a close that
            # nothing announced in the same turn of the loop as the connector hears of it.
            origin = HttpOrigin(self._ledger, announces=self._announces or name != "last")
            await self._serve(name, Server(origin.serve, self._ledger))
        await self._serve("tcp", Server(TcpOrigin(self._ledger).serve, self._ledger))
        for name in ("grpc", "goaway"):
            held = self._grpc[name] = set()
            make = functools.partial(GrpcOrigin, self._ledger, held)
            server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, backlog=1024)
            self._exit.callback(server.close)
            self.ports[name] = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._exit.aclose()
        for held in self._grpc.values():
            for connection in tuple(held):
                connection.transport.abort()

    async def _serve(self, name: str, server: Server) -> None:
        await self._exit.enter_async_context(server)
        self._servers[name] = server
        self.ports[name] = server.port

    def held(self) -> dict[str, int]:
        """Connections that the connector has open, by origin; without those that have none."""
        counts = {name: server.held for name, server in self._servers.items()}
        counts |= {name: len(held) for name, held in self._grpc.items()}
        return {name: count for name, count in counts.items() if count}


class House:
    """Runs from `start` to `stop`; the addresses stay when the edge restarts."""

    def __init__(self, options: HouseOptions, origins: Origins, patience: Patience) -> None:
        self.patience = patience
        self._options = options
        self._origins = origins
        self._folder = tempfile.TemporaryDirectory(prefix="pyconnector-stress-")
        self._version = 0
        over_quic = options.transport == "quic"
        quic = QuicSettings(engine=options.edge_engine, idle_timeout=WIDE, handshake_timeout=WIDE)
        ports = [_free_port(socket.SOCK_STREAM) for _ in range(3)]
        self.places = Places(*(("127.0.0.1", port) for port in ports))
        private = f"127.0.0.1:{origins.ports['tcp']}"
        self._settings = EdgeSettings(
            tunnels=(tunnel(),),
            address=("127.0.0.1", _free_port(socket.SOCK_DGRAM if over_quic else socket.SOCK_STREAM)),
            protocols=(options.transport,),
            visitors=VisitorSettings(address=self.places.http),
            tcp_ports=(
                TcpPort(destination="tcp.test", port=ports[1]),
                TcpPort(destination=private, port=ports[2]),
            ),
            ca_directory=Path(self._folder.name),
            control=None,
            quic=quic,
        )
        self.edge: LocalEdge
        self.connector: Connector | Fleet

    async def start(self) -> None:
        """Start both and wait until every connection is registered."""
        self.edge = LocalEdge(self._settings)
        await self.edge.start()
        if self._options.workers > 1:
            self.connector = Fleet(replace(self._config(), workers=self._options.workers))
        else:
            self.connector = Connector(self._config())
            self.connector._random = Eager()  # noqa: SLF001 - coming back is what is tried, not how long it is put off
        await self.connector.start()
        await self.all_registered()

    async def stop(self) -> None:
        """Stop both. Idempotent."""
        await self.connector.stop()
        await self.edge.stop()
        self._folder.cleanup()

    async def all_registered(self) -> None:
        """Wait until every connection is registered, at both ends.

        Raises:
            TimeoutError: some are not in time.
        """
        await self._until(lambda: self.connector.tracker.connected == CONNECTIONS == self._registered())

    async def _until(self, condition: Callable[[], bool]) -> None:
        if not await self.patience.until(condition, COMES_BACK):
            raise TimeoutError(f"{COMES_BACK:g} s went by; {self.connector.tracker.connected} connections are up")

    def _registered(self) -> int:
        return sum(connection.state == "registered" for connection in self.edge.connectors.all())

    # -- disturbances ----------------------------------------------------------------------------------------------

    def kill_at_the_edge(self, choice: float) -> None:
        """Close one of the connections; `choice` in [0, 1) says which."""
        connections = self.edge.connectors.all()
        if connections:
            connections[int(choice * len(connections))].close("killed by the stress harness")

    async def kill_at_the_connector(self, choice: float) -> None:
        """Close one from the other end, and wait until the edge knows; where there are workers, end one of them, which
        drains, and wait until another one is there."""
        if isinstance(self.connector, Fleet):
            await self._end_a_worker(self.connector, choice)
            return
        supervisor = self.connector._supervisor  # noqa: SLF001 - no part of the API lets a connection die
        assert supervisor is not None
        connections = list(supervisor.connections().values())
        if not connections:
            return
        known = set(self.edge.connectors.all())
        connections[int(choice * len(connections))].close(0, "killed by the stress harness")
        await self._until(lambda: not known <= set(self.edge.connectors.all()))

    async def _end_a_worker(self, fleet: Fleet, choice: float) -> None:
        pids = fleet.pids
        if not pids:
            return
        number = list(pids)[int(choice * len(pids))]
        os.kill(pids[number], signal.SIGTERM)
        await self._until(lambda: fleet.pids.get(number, pids[number]) != pids[number])

    async def restart_edge(self) -> None:
        """Stop the edge and start it anew at the same addresses."""
        async with self.patience.at_most(COMES_BACK):
            await self.edge.stop()
            self.edge = LocalEdge(self._settings)
            await self.edge.start()
        await self.all_registered()

    async def reload(self) -> None:
        """Put other rules in force: the HTTP origin moves to another port, every origin is made anew."""
        self._version += 1
        await self.connector.reload(self._config())

    # -- what is held ----------------------------------------------------------------------------------------------

    def busy(self) -> dict[str, int]:
        """What only requests under way hold; empty where there are none."""
        connections, connector = self.edge.connectors.all(), self.connector
        counts = {
            "requests at the connector": 0 if isinstance(connector, Fleet) else connector.statistics().active_requests,
            "requests at the edge": sum(connection.in_flight for connection in connections),
            "TCP streams": 0 if isinstance(connector, Fleet) else connector.counters.tcp_active,
            "visitors' connections": len(self.edge._visitors),  # noqa: SLF001 - not told otherwise
            "bytes on their way": sum(each.transport.statistics().bytes_undelivered for each in connections),
        }
        return {name: count for name, count in counts.items() if count}

    def streams(self) -> int:
        """Streams that are open, at both ends together; at the edge alone where there are workers."""
        ends = [connection.transport for connection in self.edge.connectors.all()]
        if isinstance(self.connector, Connector):
            ends += self.connector.edge_connections().values()
        return sum(end.statistics().streams_open for end in ends)

    def _config(self) -> ConnectorConfig:
        ports = self._origins.ports
        new = self._version % 2
        rules = [
            {"hostname": "http.test", "service": f"http://127.0.0.1:{ports['http-new' if new else 'http']}"},
            {"hostname": "last.test", "service": f"http://127.0.0.1:{ports['last']}"},
            {"hostname": "tcp.test", "service": f"tcp://127.0.0.1:{ports['tcp']}"},
            {"hostname": "grpc.test", "service": f"h2c://127.0.0.1:{ports['grpc']}"},
            {"hostname": "goaway.test", "service": f"h2c://127.0.0.1:{ports['goaway']}"},
            {"service": "http_status:404"},
        ]
        settings = {"keepAliveTimeout": KEEP_ALIVE, "connectTimeout": "61s" if new else "60s"}
        quic = {"idle_timeout": WIDE, "handshake_timeout": WIDE}
        engine = self._options.engine if self._options.transport == "quic" else self._options.transport
        config = config_for(self.edge, rules, engine=engine, connections=CONNECTIONS, quic=quic, originRequest=settings)
        return replace(config, lifecycle=replace(config.lifecycle, rpc_timeout=WIDE))


def _free_port(kind: socket.SocketKind) -> int:
    """A port that stays free while the edge restarts: none that the system gives to outgoing connections."""
    dice = random.SystemRandom()
    while True:
        with socket.socket(socket.AF_INET, kind) as sock:
            port = dice.randrange(20_000, 32_000)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
