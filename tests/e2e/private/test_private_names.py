"""Private names: resolved by the connector's resolver, over UDP and TCP, and reached through the same tunnel."""

from __future__ import annotations

from ipaddress import ip_network

import dns.message
import pytest

from pyconnector.edge import PrivateHostname, PrivateRoute
from pyconnector.edge.private.names import DNS_ADDRESS
from pyconnector.edge.private.network import Unroutable
from tests.e2e.private.test_private_udp import Client
from tests.support.houses.house import TUNNEL_ID
from tests.support.houses.private_house import LOOPBACK, private_house
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

RECORDS = {"db.internal": "127.0.0.1", "six.internal": "::1"}
SETTINGS = {
    "private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),),
    "private_routes": (*LOOPBACK, PrivateRoute(network=ip_network(f"{DNS_ADDRESS}/128"), tunnel_id=TUNNEL_ID)),
}


@pytest.mark.parametrize("version", [2, 3])
async def test_a_name_is_resolved_by_the_connector_and_reached(version: int) -> None:
    async with dns_service(RECORDS) as resolver, UdpService() as service:
        async with private_house(version=version, settings=SETTINGS, resolver=resolver.port) as house:
            client = await Client.of(house, service.port, host="DB.internal.", first=b"x")
            assert await client.receive() == b"x"
            await house.network.find("db.internal", 1)
            assert len(resolver.zone.asked) == 1, "an answer is kept"
            assert str((await house.network.find("six.internal", 1)).address) == "::1"
            assert house.connector.counters.datagrams.dns_requests["udp"] == 3


async def test_a_name_that_does_not_exist_is_said_so() -> None:
    async with dns_service(RECORDS) as resolver:
        async with private_house(settings=SETTINGS, resolver=resolver.port) as house:
            with pytest.raises(Unroutable, match=r"^no\.internal does not exist\.$"):
                await house.network.find("no.internal", 1)
            with pytest.raises(Unroutable, match=r"No route leads to db\.example"):
                await house.network.find("db.example", 1)


async def test_dns_over_tcp_goes_to_the_same_resolver() -> None:
    async with dns_service(RECORDS) as resolver:
        async with private_house(settings=SETTINGS, resolver=resolver.port) as house:
            destination = await house.network.find(str(DNS_ADDRESS), 53)
            exchange = await house.network.open_tcp(destination)
            query = dns.message.make_query("db.internal", "A").to_wire()
            exchange.stream.send_nowait(len(query).to_bytes(2, "big") + query)
            data = exchange.leftover
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                data += await exchange.stream.receive()
            assert "127.0.0.1" in dns.message.from_wire(data[2:]).to_text()
            exchange.abort()
            assert house.connector.counters.datagrams.dns_requests == {"tcp": 1}


async def test_a_resolver_that_is_silent_is_said_so() -> None:
    async with UdpService(lambda data: None) as silent:
        async with private_house(settings=SETTINGS, resolver=silent.port) as house:
            with pytest.raises(Unroutable, match="did not answer"):
                await house.network.find("db.internal", 1)
            assert len(silent.received) == 3
