"""The whole house without QUIC: a local edge and one edge connection of ours, joined in memory, rules and origins real.

For tests in virtual time: nothing here uses a thread, and sockets on loopback deliver before the clock can jump.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from pyconnector.connector.active.orchestrator import Orchestrator
from pyconnector.connector.api.events import Event, Registered
from pyconnector.connector.link.edge_connection import EdgeConnection, Identity, Plan, Services
from pyconnector.connector.link.quic.data_streams import DataStreams
from pyconnector.connector.link.quic.session import QuicSession
from pyconnector.connector.link.rpc_streams import RpcStreams
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.connector.requests.path import RequestPath
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.ingress import WarpRouting, parse_ingress
from pyconnector.origins import OriginResources
from pyconnector.transport.memory import memory_pair
from tests.support.houses.house import credentials, tunnel


@contextlib.asynccontextmanager
async def memory_house(rules: Iterable[Mapping[str, Any]]) -> AsyncIterator[LocalEdge]:
    """Start both ends; the connection is registered when the block begins."""
    counters, registered = Counters(), asyncio.Event()
    orchestrator = Orchestrator(resources=OriginResources(), counters=counters, on_applied=lambda version: None)
    rpc = RpcStreams(orchestrator=orchestrator, counters=counters, timeout=5.0, log=Log("request"))
    ours, theirs = memory_pair()

    async def dial(plan: Plan) -> QuicSession:
        log = Log("request")
        path = RequestPath(orchestrator=orchestrator, counters=counters, added_headers=[], log=log)
        return QuicSession(ours, DataStreams(path, serve_rpc=rpc.serve, log=log))

    def emit(event: Event) -> None:
        if isinstance(event, Registered):
            registered.set()

    identity = Identity(credentials=credentials(), client_id=uuid.uuid4(), version="1", arch="tests")
    services = Services(identity=identity, dial=dial, orchestrator=orchestrator, counters=counters, emit=emit)
    await orchestrator.start(parse_ingress({"ingress": list(rules)}), WarpRouting())
    try:
        async with LocalEdge(EdgeSettings(address=None, tunnels=(tunnel(),), control=None)) as edge:
            edge.attach(theirs)
            running = asyncio.create_task(
                EdgeConnection(Plan(index=0, address=("192.0.2.1", 7844)), services).run(), name="edge connection"
            )
            try:
                async with asyncio.timeout(30):
                    await registered.wait()
                yield edge
            finally:
                running.cancel()
                await asyncio.wait((running,))
    finally:
        await orchestrator.close()
