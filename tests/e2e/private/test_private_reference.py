"""The genuine cloudflared serves the private network of our edge: UDP in both versions of the datagram protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyconnector.edge import EdgeSettings, LocalEdge, PrivateHostname
from tests.e2e.private.test_private_udp import Client
from tests.support.houses.house import TUNNEL_ID, tunnel
from tests.support.houses.private_house import LOOPBACK, V3, PrivateHouse
from tests.support.services.dns_server import dns_service
from tests.support.services.genuine import genuine_connector, needs_cloudflared
from tests.support.services.udp_service import UdpService

pytestmark = needs_cloudflared


@asynccontextmanager
async def genuine_house(directory: Path, *flags: str) -> AsyncIterator[PrivateHouse]:
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None, private_routes=LOOPBACK)) as edge:
        async with genuine_connector(edge, directory, *flags):
            yield PrivateHouse(edge, [])


def version_flags(version: int) -> tuple[str, ...]:
    return ("--features", V3[0]) if version == 3 else ()


@pytest.mark.parametrize("version", [2, 3])
async def test_udp_travels_both_ways(tmp_path: Path, version: int) -> None:
    async with genuine_house(tmp_path, *version_flags(version)) as house, UdpService() as service:
        client = await Client.of(house, service.port)
        for data in (b"x", bytes(1000), b""):
            assert await client.ask(data) == data
        client.flow.close()


async def test_a_session_that_its_service_refuses_ends_the_flow(tmp_path: Path) -> None:
    async with genuine_house(tmp_path) as house:
        async with UdpService() as service:
            port = service.port
        client = await Client.of(house, port, first=b"x")
        async with asyncio.timeout(30):
            while not client.ended:
                await asyncio.sleep(0.01)
        assert "refused" in client.ended[0]


async def test_names_are_resolved_by_its_resolver(tmp_path: Path) -> None:
    settings = EdgeSettings(
        tunnels=(tunnel(),),
        control=None,
        private_routes=LOOPBACK,
        private_hostnames=(PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),),
    )
    async with dns_service({"db.internal": "127.0.0.1"}) as resolver, UdpService() as service:
        async with LocalEdge(settings) as edge:
            flags = ("--dns-resolver-addrs", f"127.0.0.1:{resolver.port}")
            async with genuine_connector(edge, tmp_path, *flags):
                client = await Client.of(PrivateHouse(edge, []), service.port, host="db.internal")
                assert await client.ask(b"x") == b"x"
