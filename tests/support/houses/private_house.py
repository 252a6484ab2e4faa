"""An edge with private routes and connectors that carry them, over real QUIC on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from pyconnector import Connector
from pyconnector.connector.config.model import PrivateConfig
from pyconnector.edge import EdgeSettings, LocalEdge, PrivateRoute
from tests.support.houses.house import TUNNEL_ID, config_for, tunnel

if TYPE_CHECKING:
    from pyconnector.edge.private.network import PrivateNetwork

V3 = ("support_datagram_v3_2",)
LOOPBACK = tuple(PrivateRoute(network=ip_network(text), tunnel_id=TUNNEL_ID) for text in ("127.0.0.0/8", "::1/128"))


@dataclass(slots=True)
class PrivateHouse:
    edge: LocalEdge
    connectors: list[Connector]

    @property
    def network(self) -> PrivateNetwork:
        assert self.edge.private is not None
        return self.edge.private

    @property
    def connector(self) -> Connector:
        return self.connectors[0]


@contextlib.asynccontextmanager
async def private_house(
    *,
    engine: str = "aioquic",
    version: int = 2,
    connections: int = 1,
    replicas: int = 1,
    settings: Mapping[str, Any] | None = None,
    top: Mapping[str, Any] | None = None,
    resolver: int = 0,
) -> AsyncIterator[PrivateHouse]:
    """Start an edge and `replicas` connectors of one tunnel, ready when the block begins."""
    edge_settings = EdgeSettings(tunnels=(tunnel(),), **{"private_routes": LOOPBACK, **(settings or {})})
    async with LocalEdge(edge_settings) as edge, contextlib.AsyncExitStack() as stack:
        config = config_for(
            edge, [{"service": "http_status:404"}], engine=engine, connections=connections, **(top or {})
        )
        private = PrivateConfig(dns_resolvers=(("127.0.0.1", resolver),) if resolver else ())
        config = replace(config, features=V3 if version == 3 else (), private=private)
        house = PrivateHouse(edge, [])
        for _ in range(replicas):
            connector = await stack.enter_async_context(Connector(config))
            async with asyncio.timeout(15):
                await connector.wait_ready(connections)
            house.connectors.append(connector)
        yield house
