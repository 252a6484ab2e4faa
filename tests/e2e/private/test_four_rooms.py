"""The whole way, each part in a network namespace of its own.

An agent that has no route to a private network reaches it through the edge, and a connector in the site that only dials
out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from pyconnector import Connector
from pyconnector.agent import Mesh, MeshError
from pyconnector.agent.proxy import LocalProxy
from pyconnector.agent.token_file import Token
from pyconnector.connector.config.model import PrivateConfig
from pyconnector.edge import EdgeSettings, LocalEdge, PrivateHostname, PrivateRoute
from pyconnector.identity.network_rules import parse_rule
from tests.agent.test_udp import program_at
from tests.e2e.private.test_private_udp import Client as UdpClient
from tests.support.houses.four_rooms import EDGE_FOR_AGENTS, EDGE_FOR_SITES, PRIVATE, Rooms, four_rooms
from tests.support.houses.house import TUNNEL_ID, config_to, tunnel
from tests.support.houses.namespaces import why_not
from tests.support.houses.private_house import V3, PrivateHouse
from tests.support.peers.gateway import CLIENT_ID, SECRET, gateway_settings
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces can be made")

TOKEN = Token(client_id=CLIENT_ID, secret=SECRET)
FLOWS = 200


@dataclass
class Services:
    """What listens in the private network."""

    http: int = 0
    udp: int = 0
    dns: int = 0
    closed: int = 9


@contextlib.contextmanager
def private_services(rooms: Rooms) -> Iterator[Services]:
    found = Services()
    stack = contextlib.AsyncExitStack()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            peer = str(writer.get_extra_info("peername")[0]).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nX-Peer: " + peer + b"\r\n\r\n" + head.split(b"\r\n")[0])
        writer.close()

    async def start() -> None:
        server = await stack.enter_async_context(await asyncio.start_server(answer, PRIVATE, 0))
        found.http = server.sockets[0].getsockname()[1]
        found.udp = (await stack.enter_async_context(UdpService(host=PRIVATE))).port
        found.dns = (await stack.enter_async_context(dns_service({"db.internal": PRIVATE}, host=PRIVATE))).port

    rooms.private.run(start())
    try:
        yield found
    finally:
        rooms.private.run(stack.aclose())


def edge_settings(settings: Mapping[str, Any] = {}, **more: Any) -> EdgeSettings:
    rules: list[dict[str, Any]] = [
        {"action": "block", "ports": [22]},
        {"action": "allow", "networks": ["192.168.77.0/24"]},
        {"action": "allow", "names": ["*.internal"]},
    ]
    given: dict[str, Any] = {"http": (EDGE_FOR_AGENTS, 0), "own_certificate": True, "names": (EDGE_FOR_AGENTS,), **more}
    gateway = gateway_settings(
        socks=None, rules=tuple(parse_rule(str(number), rule) for number, rule in enumerate(rules)), **given
    )
    whole: dict[str, Any] = {
        "address": (EDGE_FOR_SITES, 0), "tunnels": (tunnel(),), "control": None, "gateway": gateway,
        "private_routes": (PrivateRoute(network=ip_network("192.168.0.0/16"), tunnel_id=TUNNEL_ID),),
        "private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),),
    }  # fmt: skip
    return EdgeSettings(**{**whole, **settings})


async def connector_to(address: tuple[str, int], ca_path: Path, dns_port: int, version: int) -> Connector:
    config = config_to(address, ca_path, [{"service": "http_status:404"}], connections=2)
    private = PrivateConfig(dns_resolvers=((PRIVATE, dns_port),))
    connector = Connector(replace(config, private=private, features=V3 if version == 3 else ()))
    await connector.start()
    async with asyncio.timeout(20):
        await connector.wait_ready(2)
    return connector


async def get(mesh: Mesh, host: str, port: int) -> bytes:
    reader, writer = await mesh.open_connection(host, port)
    writer.write(b"GET /private HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def refusal(mesh: Mesh, host: str, port: int) -> int:
    with pytest.raises(MeshError) as caught:
        await mesh.open_connection(host, port)
    return caught.value.status


@pytest.mark.parametrize("version", [2, 3])
def test_an_agent_without_a_route_reaches_a_private_network(version: int) -> None:
    with four_rooms() as rooms, private_services(rooms) as services:
        edge = LocalEdge(edge_settings())
        rooms.edge.run(edge.start())
        connector = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, services.dns, version))
        gateway = edge.gateway
        assert gateway is not None
        assert gateway.http_address is not None
        url = f"https://{EDGE_FOR_AGENTS}:{gateway.http_address[1]}"

        async def agent() -> None:
            with pytest.raises(OSError, match="unreachable"):
                await asyncio.open_connection(PRIVATE, services.http)
            mesh = Mesh(url, TOKEN, ca_file=edge.ca_path)
            for host in (PRIVATE, "db.internal"):
                answer = await get(mesh, host, services.http)
                assert answer.endswith(b"GET /private HTTP/1.1")
                assert b"X-Peer: 192.168.77.1\r\n" in answer
            answers = await asyncio.gather(*(get(mesh, PRIVATE, services.http) for _ in range(FLOWS)))
            assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
            stranger = Mesh(url, replace(TOKEN, secret="wrong"), ca_file=edge.ca_path)
            assert await refusal(stranger, PRIVATE, services.http) == 407
            assert await refusal(mesh, PRIVATE, 22) == 403
            assert await refusal(mesh, "10.1.2.3", 80) == 403
            assert await refusal(mesh, "none.internal", 80) == 502
            assert await refusal(mesh, PRIVATE, services.closed) == 504
            with pytest.raises(MeshError, match="not trusted"):
                await Mesh(url, TOKEN).open_connection(PRIVATE, services.http)
            proxy = LocalProxy(mesh)
            host, port = await proxy.start(port=0)
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET http://db.internal:%d/private HTTP/1.1\r\n\r\n" % services.http)
            assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"GET /private HTTP/1.1")
            writer.close()
            async with asyncio.timeout(20), program_at(proxy) as program:
                program.send("db.internal", services.udp, b"by name")
                assert await program.receive() == ("db.internal", services.udp, b"by name")
            await proxy.close()
            await mesh.close()

        rooms.agent.run(agent(), timeout=120)

        async def records() -> list[dict[str, Any]]:
            async with asyncio.timeout(30):
                while len(gateway.records.recent) < FLOWS + 9:
                    await asyncio.sleep(0.01)
            return list(gateway.records.recent)

        found = rooms.edge.run(records())
        assert len(found) == FLOWS + 9
        assert {record["SourceIP"] for record in found} == {"10.88.1.2"}
        assert sum(record["Action"] == "allow" for record in found) == FLOWS + 6
        udp_and_pings(rooms, edge, services, connector, version)


def udp_and_pings(rooms: Rooms, edge: LocalEdge, services: Services, connector: Connector, version: int) -> None:
    """A ping, and a UDP flow that goes on over a restart of the connector."""

    async def begin() -> UdpClient:
        assert edge.private is not None
        pong = await edge.private.ping(await edge.private.find(PRIVATE, 0), data=b"ping")
        assert (str(pong.source), pong.data) == (PRIVATE, b"ping")
        client = await UdpClient.of(PrivateHouse(edge, []), services.udp, host=PRIVATE)
        assert await client.ask(b"before") == b"before"
        return client

    async def go_on(client: UdpClient) -> None:
        assert await client.ask(b"after") == b"after"
        assert client.ended == []
        client.flow.close()
        await edge.stop()

    client = rooms.edge.run(begin())
    rooms.site.run(connector.drain(1.0))
    rooms.site.run(connector.stop())
    again = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, services.dns, version))
    try:
        rooms.edge.run(go_on(client))
    finally:
        rooms.site.run(again.stop())


async def test_the_edge_s_certificate_names_where_agents_find_it() -> None:
    settings = replace(edge_settings(), address=("127.0.0.1", 0))
    assert settings.gateway is not None
    gateway = replace(settings.gateway, http=("127.0.0.1", 0), names=("edge.example",))
    async with LocalEdge(replace(settings, gateway=gateway)) as edge:
        assert edge.gateway is not None
        assert edge.gateway.http_address is not None
        context = ssl.create_default_context(cafile=edge.ca_path)
        _, writer = await asyncio.open_connection(
            *edge.gateway.http_address, ssl=context, server_hostname="edge.example"
        )
        writer.close()
