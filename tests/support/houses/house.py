"""The whole house for end-to-end tests: a local edge and a connector to it, over real QUIC on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyconnector import Connector, ConnectorConfig, Credentials
from pyconnector.connector.config.model import EdgeConfig, LifecycleConfig
from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings
from pyconnector.ingress import parse_ingress
from pyconnector.transport.settings import QuicSettings

TUNNEL_ID = uuid.UUID("6ff42ae2-765d-4adf-8112-31c55c1551ef")
SECRET = b"a secret of the tests, 32 bytes."
#: As a credentials file has it.
SECRET_TEXT = base64.b64encode(SECRET).decode()


def tunnel(**more: Any) -> TunnelSettings:
    return TunnelSettings(account_tag="tests", tunnel_id=TUNNEL_ID, secret=SECRET, **more)


def credentials() -> Credentials:
    return Credentials(account_tag="tests", tunnel_id=TUNNEL_ID, secret=SECRET)


def config_for(
    edge: LocalEdge, rules: Iterable[Mapping[str, Any]], *, engine: str = "aioquic", connections: int = 1, **top: Any
) -> ConnectorConfig:
    """The config of a connector to `edge` with `rules`."""
    return config_to(edge.quic_address, edge.ca_path, rules, engine=engine, connections=connections, **top)


def config_to(
    address: tuple[str, int],
    ca_path: Path | None,
    rules: Iterable[Mapping[str, Any]],
    *,
    engine: str = "aioquic",
    connections: int = 1,
    quic: Mapping[str, Any] | None = None,
    **top: Any,
) -> ConnectorConfig:
    """The config of a connector to whatever edge listens at `address`. The engine `http2` is that protocol."""
    return ConnectorConfig(
        credentials=credentials(),
        ingress=parse_ingress({"ingress": list(rules), **top}),
        edge=EdgeConfig(
            addresses=("{}:{}".format(*address),),
            ca_file=str(ca_path) if ca_path else None,
            protocol="http2" if engine == "http2" else "quic",
            quic=QuicSettings(engine="auto" if engine == "http2" else engine, **(quic or {})),
        ),
        lifecycle=LifecycleConfig(ha_connections=connections, grace_period=5.0, rpc_timeout=2.0),
    )


@dataclass(slots=True)
class House:
    """An edge and a connector that is registered with it."""

    edge: LocalEdge
    connector: Connector

    @property
    def url(self) -> str:
        """Where visitors go."""
        return "http://{}:{}".format(*self.edge.visitor_address)


@contextlib.asynccontextmanager
async def open_house(
    rules: Iterable[Mapping[str, Any]],
    *,
    engine: str = "aioquic",
    connections: int = 1,
    settings: EdgeSettings | None = None,
    connector_options: Mapping[str, Any] | None = None,
    **top: Any,
) -> AsyncIterator[House]:
    """Start both; the connector is ready when the block begins."""
    async with LocalEdge(settings or EdgeSettings(tunnels=(tunnel(),))) as edge:
        config = config_for(edge, rules, engine=engine, connections=connections, **top)
        async with Connector(config, **(connector_options or {})) as connector:
            async with asyncio.timeout(15):
                await connector.wait_ready(connections)
            yield House(edge, connector)


class Eager(random.Random):
    """Randomness that waits hardly at all; give it to `Connector._random` where a test is about coming back."""

    def random(self) -> float:
        return 0.02


def open_descriptors() -> int:
    """How many file descriptors this process has, garbage collected first."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
