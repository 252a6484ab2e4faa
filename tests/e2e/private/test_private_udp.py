"""UDP from the edge through a connector to a private service, in both versions and over both engines."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge.private.network import Destination, Unreachable, Unroutable
from tests.support.houses.house import TUNNEL_ID, open_descriptors
from tests.support.houses.private_house import PrivateHouse, private_house
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.edge.private.udp import PrivateUdp

#: HTTP/2 carries no datagrams.
QUIC_ONLY = True
VERSIONS = (2, 3)


class Client:
    """The client's end of a flow."""

    def __init__(self) -> None:
        self.flow: PrivateUdp
        self.ended: list[str] = []
        self._packets: asyncio.Queue[bytes] = asyncio.Queue()

    @classmethod
    async def of(cls, house: PrivateHouse, port: int, *, host: str = "127.0.0.1", first: bytes = b"") -> Client:
        client = cls()
        destination = await house.network.find(host, port)
        client.flow = await house.network.open_udp(
            destination, on_data=client._packets.put_nowait, on_end=client.ended.append, first=first
        )
        return client

    async def receive(self) -> bytes:
        async with asyncio.timeout(30):
            return await self._packets.get()

    async def ask(self, data: bytes) -> bytes:
        """Send until an answer comes: a packet may be lost while a flow moves."""
        async with asyncio.timeout(15):
            while True:
                self.flow.send(data)
                try:
                    async with asyncio.timeout(0.5):
                        while (answer := await self._packets.get()) != data:
                            pass
                        return answer
                except TimeoutError:
                    continue


async def until(true: Any) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
async def test_packets_travel_both_ways(engine: str, version: int) -> None:
    async with private_house(engine=engine, version=version) as house, UdpService() as service:
        client = await Client.of(house, service.port, first=b"first")
        assert await client.receive() == b"first"
        for data in (b"", b"x", bytes(1000)):
            assert await client.ask(data) == data
        assert (client.flow.dropped, house.connector.counters.datagrams.dropped) == (0, {})
        client.flow.close()


async def test_a_flow_that_is_closed_ends_at_the_connector_of_version_2() -> None:
    async with private_house() as house, UdpService() as service:
        client = await Client.of(house, service.port)
        counters = house.connector.counters.datagrams
        assert counters.v2_active == 1
        client.flow.close()
        await until(lambda: counters.v2_active == 0)


async def test_a_flow_that_is_cancelled_while_it_opens_ends_at_the_connector_of_version_2() -> None:
    async with private_house() as house, UdpService() as service:
        destination = await house.network.find("127.0.0.1", service.port)
        counters = house.connector.counters.datagrams

        async def opened() -> None:
            flow = await house.network.open_udp(
                destination, on_data=lambda data: None, on_end=lambda reason: None
            )  # fmt: skip
            flow.close()

        async def nothing_is_left() -> None:
            await until(lambda: not house.network.tasks and counters.v2_active == 0)

        assert await cancel_everywhere(opened, nothing_is_left) >= 1


async def test_a_service_that_refuses_ends_the_flow_of_version_2() -> None:
    async with private_house() as house:
        async with UdpService() as service:
            port = service.port
        client = await Client.of(house, port, first=b"x")
        await until(lambda: client.ended)
        assert client.ended == [f"127.0.0.1:{port} refused the connection"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_refusal_of_the_connector_is_told_in_its_words(version: int) -> None:
    top = {"warp-routing": {"maxActiveFlows": 1}}
    async with private_house(version=version, top=top) as house, UdpService() as service:
        house.connector._orchestrator.limiter.limit = 1
        await Client.of(house, service.port)
        with pytest.raises(Unreachable, match="too many active flows"):
            await Client.of(house, service.port)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_flow_outlives_its_connection(version: int) -> None:
    async with private_house(version=version, connections=2) as house, UdpService() as service:
        client = await Client.of(house, service.port)
        await client.ask(b"before")
        link = client.flow._link
        [connection] = [each for each in house.edge.connectors.all() if each.datagrams is link]
        connection.close("the test closes it")
        assert await client.ask(b"after") == b"after"
        assert client.ended == []


async def test_a_flow_of_version_3_keeps_its_socket_when_its_connection_drains() -> None:
    async with private_house(version=3, connections=2) as house, UdpService() as service:
        client = await Client.of(house, service.port)
        await client.ask(b"before")
        link = client.flow._link
        [connection] = [each for each in house.edge.connectors.all() if each.datagrams is link]
        connection._leave("draining")
        assert await client.ask(b"after") == b"after"
        assert client.flow._link is not link
        assert len(set(service.peers)) == 1
        assert sum(house.connector.counters.datagrams.migrated.values()) == 1


async def test_a_flow_stays_with_its_connector_while_that_has_another_connection() -> None:
    async with private_house(version=3, connections=2, replicas=2) as house, UdpService() as service:
        clients = [await Client.of(house, service.port, first=b"%d" % number) for number in range(6)]
        before = [client.flow.connector_id for client in clients]
        assert len(set(before)) == 2
        for connector_id in set(before):
            members = [each for each in house.edge.connectors.all() if each.registration.client_id == connector_id]
            members[0]._leave("draining")
        for number, client in enumerate(clients):
            await client.ask(b"after %d" % number)
        assert [client.flow.connector_id for client in clients] == before
        assert len(set(service.peers)) == 6, "each kept its socket"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_flow_outlives_its_connector_where_another_serves_the_tunnel(version: int) -> None:
    async with private_house(version=version, replicas=2) as house, UdpService() as service:
        client = await Client.of(house, service.port)
        await client.ask(b"before")
        [first] = [each for each in house.connectors if each.connector_id == client.flow.connector_id]
        await first.stop()
        assert await client.ask(b"after") == b"after"
        assert client.flow.connector_id != first.connector_id


async def test_addresses_without_a_route_and_other_networks_are_unroutable() -> None:
    async with private_house() as house:
        for host, network in (
            ("10.1.2.3", ""),
            ("::2", ""),
            ("127.0.0.1", "other"),
            ("db.internal", ""),
            ("a b", ""),
        ):
            with pytest.raises(Unroutable):
                await house.network.find(host, 80, network)
        found = await house.network.find("::ffff:127.0.0.1", 80)
        assert isinstance(found, Destination)
        assert (found.address, found.network) == (IPv4Address("127.0.0.1"), "127.0.0.0/8")
        assert found.tunnel.tunnel_id == TUNNEL_ID


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_is_left_of_many_flows(version: int) -> None:
    async with private_house(version=version) as house, UdpService() as service:
        before = open_descriptors()
        clients = [await Client.of(house, service.port, first=b"x") for _ in range(50)]
        for client in clients:
            await client.receive()
            client.flow.close()
        counters = house.connector.counters.datagrams
        if version == 2:
            await until(lambda: counters.v2_active == 0)
            assert open_descriptors() == before
        [connection] = house.edge.connectors.all()
        assert connection.datagrams is not None
        await until(lambda: not house.network.tasks)
        assert connection.datagrams.sessions == {}
