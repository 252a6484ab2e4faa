"""CONNECT-IP at the gateway, over HTTP/3: packets of a client to private services, each flow judged and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import dns.message
import dns.rcode
import pytest

from pyconnector.edge import PrivateHostname, PrivateRoute
from pyconnector.edge.access.devices import DeviceEntry
from pyconnector.edge.private.connect_ip.addresses import ROUTER
from pyconnector.protocol.capsules import encode_udp_capsule
from pyconnector.protocol.connect_ip import ADDRESS_REQUEST, PrefixAddress, encode_addresses
from pyconnector.transport.ip.packets import ICMP, ICMPV6, TCP, UDP
from pyconnector.transport.ip.tcp.segment import ACK, FIN, RST, decode_segment
from pyconnector.transport.ip.udp import decode_udp, encode_udp
from pyconnector.transport.settings import QuicSettings
from tests.e2e.private.ip_client import IpClient, TcpEnd
from tests.e2e.private.test_gateway_http3 import BASIC, WRONG, extended, h3_house, visitor_of
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of, record_of
from tests.support.houses.house import TUNNEL_ID
from tests.support.houses.private_house import LOOPBACK
from tests.support.peers.gateway import CLIENT_ID, rule, token
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService
from tests.transport.ip.test_packets import ping


@asynccontextmanager
async def ip_house(
    engine: str = "aioquic", edge: dict[str, Any] | None = None, frame_size: int = 65_535, **more: Any
) -> AsyncIterator[tuple[Any, IpClient]]:
    whole = {"quic": QuicSettings(engine=engine), **(edge or {})}
    async with (
        gateway_house(own_certificate=True, edge=whole, **more) as house,
        visitor_of(house, frame_size=frame_size) as visitor,
    ):
        yield house, await IpClient.at(visitor, BASIC)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(("of_edge", "host"), [("aioquic", "127.0.0.1"), ("qh3", "::1")])
async def test_tcp_passes_both_ways_to_its_ends(of_edge: str, host: str) -> None:
    async with ip_house(of_edge) as (house, client), echo_service(host) as port:
        end = TcpEnd(client, host, port, source_port=4_000)
        assert (await end.connect()).protocol == TCP
        data = bytes(range(256)) * 200
        for at in range(0, len(data), 1_000):
            end.send(ACK, data[at : at + 1_000])
        end.send(ACK | FIN)
        while not end.ended:
            await end.step()
        assert end.received == data
        assert client.in_capsules == 0  # segments are kept to what a datagram has room for
        record = await record_of(house)
        assert (record["Onramp"], record["Protocol"], record["OriginIP"], record["OriginPort"]) == (
            "connect-ip", "TCP", host, port,
        )  # fmt: skip
        assert (record["BytesSent"], record["BytesReceived"]) == (len(data), len(data))
        assert (record["ConnectionCloseReason"], record["ServiceTokenName"]) == ("CLIENT_CLOSED", "agent-01")
        assert len(gateway_of(house).judge) == 1  # the tunnel itself


async def test_addresses_and_routes_are_told() -> None:
    other = PrivateRoute(network=ip_network("10.9.0.0/16"), tunnel_id=TUNNEL_ID)
    async with ip_house(edge={"private_routes": (*LOOPBACK, other)}) as (_, client):
        assert [str(each.address) for each in client.addresses] == ["100.96.0.2", "2606:4700:cf1:1000::6460:2"]
        assert client.routes is not None
        told = [f"{each.first}-{each.last}" for each in client.routes]
        assert told == [
            "100.96.0.1-100.96.0.1", "127.0.0.0-127.255.255.255", "172.64.128.0-172.64.143.255", "::1-::1",
            "2606:4700:cf1:1000::1-2606:4700:cf1:1000::1",
        ]  # fmt: skip
        second = await IpClient.at(client.visitor, BASIC)
        assert second.address != client.address
        asked = [PrefixAddress(7, ip_address("0.0.0.0"), 32), PrefixAddress(8, ip_address("10.0.0.1"), 32)]
        client.forget_addresses()
        client.visitor.send(client.stream_id, encode_addresses(ADDRESS_REQUEST, asked))
        await client.visitor.until(client.look(lambda: len(client.addresses) == 3))
        assert [(each.request_id, str(each.address)) for each in client.addresses] == [
            (7, "100.96.0.2"), (8, "0.0.0.0"), (0, "2606:4700:cf1:1000::6460:2"),
        ]  # fmt: skip


async def test_udp_and_pings_pass() -> None:
    async with ip_house() as (house, client), UdpService() as service:
        client.send_udp("127.0.0.1", service.port, b"question")
        answer = decode_udp(await client.packet(lambda packet: packet.protocol == UDP))
        assert (answer.payload, answer.source_port, answer.destination_port) == (b"question", service.port, 5_000)
        client.send(ping(client.address, ROUTER.packed))
        assert (await client.packet()).payload[4:] == b"\0\7\0\x09data"
        client.visitor.send(client.stream_id, b"", end=True)
        record = await record_of(house)
        assert (record["Protocol"], record["BytesSent"], record["BytesReceived"]) == ("UDP", 8, 8)


async def test_packets_beyond_a_datagram_travel_in_capsules() -> None:
    async with ip_house(frame_size=1_000) as (_, client), UdpService() as service:
        client.visitor.send(client.stream_id, capsule_of_udp(client, service.port, 1_100))
        assert len(decode_udp(await client.packet()).payload) == 1_100
        assert client.in_capsules == 1


async def test_a_packet_too_large_for_its_flow_is_told_what_fits() -> None:
    async with ip_house() as (_, client), UdpService() as service:
        client.visitor.send(client.stream_id, capsule_of_udp(client, service.port, 1_400))
        packet = await client.packet()
        assert (packet.protocol, packet.payload[:2], int.from_bytes(packet.payload[4:8], "big")) == (
            ICMP,
            b"\3\4",
            1_308,
        )


def capsule_of_udp(client: IpClient, port: int, size: int) -> bytes:
    return encode_udp_capsule(encode_udp(client.address, 5_000, ip_address("127.0.0.1").packed, port, bytes(size)))


async def test_spoofed_sources_reach_nothing() -> None:
    async with ip_house() as (house, client), UdpService() as service:
        client.send_udp("127.0.0.1", service.port, b"spoofed", source=ip_address("100.96.0.99").packed)
        client.send_udp("127.0.0.1", service.port, b"own")
        assert decode_udp(await client.packet()).payload == b"own"
        client.visitor.send(client.stream_id, b"", end=True)
        assert (await record_of(house))["BytesSent"] == 3


async def test_refusals_are_told_and_recorded() -> None:
    closed = 9
    rules = (rule(ports=["1024-65535"], protocols=["tcp", "udp"]), rule(id="2", ports=[closed]),
             rule(id="3", networks=["10.0.0.0/8"]))  # fmt: skip
    async with ip_house(rules=rules) as (house, client):
        cases: list[tuple[str, int, int, bytes]] = [
            ("127.0.0.1", 22, ICMP, b"\3\x0d"), ("10.1.2.3", 80, ICMP, b"\3\0"), ("::1", 22, ICMPV6, b"\1\1"),
        ]  # fmt: skip
        for number, (host, port, protocol, kind) in enumerate(cases):
            packet = await TcpEnd(client, host, port, source_port=4_000 + number).connect()
            assert (packet.protocol, packet.payload[:2]) == (protocol, kind)
        refused = decode_segment(await TcpEnd(client, "127.0.0.1", closed, source_port=4_010).connect())
        assert refused.flags == RST | ACK
        for number in range(3):  # judged and recorded once, told each time
            client.send_udp("127.0.0.1", 23, b"%d" % number)
            assert (await client.packet()).payload[:2] == b"\3\x0d"
        client.send(ping(client.address, ip_address("127.0.0.1").packed))
        assert (await client.packet()).payload[:2] == b"\3\x0d"
        await record_of(house, count=6)
        reasons = [each["ConnectionCloseReason"] for each in gateway_of(house).records.recent]
        assert reasons == [
            "PROXY_CONN_REFUSED", "ORIGIN_UNROUTABLE", "PROXY_CONN_REFUSED", "ORIGIN_UNREACHABLE",
            "PROXY_CONN_REFUSED", "PROXY_CONN_REFUSED",
        ]  # fmt: skip


async def test_a_scope_is_kept_to() -> None:
    async with h3_house() as (_, visitor), UdpService() as service, echo_service() as port:
        client = await IpClient.at(visitor, BASIC, path=b"/.well-known/masque/ip/127.0.0.0%2F8/17/")
        client.send_udp("127.0.0.1", service.port, b"within")
        assert decode_udp(await client.packet()).payload == b"within"
        packet = await TcpEnd(client, "127.0.0.1", port, source_port=4_000).connect()
        assert (packet.protocol, packet.payload[:2]) == (ICMP, b"\3\x0d")


async def test_requests_that_cannot_be_served_are_refused() -> None:
    async with h3_house() as (_, visitor):
        path = "/.well-known/masque/ip/{}/*/"
        network = (b"cf-virtual-network", b"none")
        cases = {
            extended(visitor, b"connect-ip", path.format("*"), WRONG): 407,
            extended(visitor, b"connect-ip", path.format("db.internal"), BASIC): 400,
            extended(visitor, b"connect-ip", "/", BASIC): 400,
            extended(visitor, b"connect-ip", path.format("*"), BASIC, network): 400,
        }
        for stream_id, status in cases.items():
            assert (await visitor.end(stream_id)).status == status


async def test_a_device_has_its_own_address_until_it_is_disabled() -> None:
    async with ip_house() as (house, other), UdpService() as service:
        state = gateway_of(house).judge.gate.state
        device = DeviceEntry(id="d1", name="laptop", token_id=CLIENT_ID, address=IPv4Address("100.96.7.7"))
        state.put("device", device)
        client = await IpClient.at(other.visitor, BASIC)
        assert [str(each.address) for each in client.addresses] == ["100.96.7.7", "2606:4700:cf1:1000::6460:707"]
        client.send_udp("127.0.0.1", service.port, b"question")
        assert decode_udp(await client.packet()).payload == b"question"
        state.put("device", replace(device, enabled=False))
        await client.visitor.until(lambda: client.visitor.answer(client.stream_id).reset is not None)
        record = await record_of(house)
        assert (record["SourceInternalIP"], record["DeviceName"]) == ("100.96.7.7", "laptop")
        assert record["Detail"] == "the device was revoked"


async def test_revocation_ends_flows_and_the_tunnel() -> None:
    async with ip_house() as (house, client), echo_service() as port:
        end = TcpEnd(client, "127.0.0.1", port, source_port=4_000)
        await end.connect()
        house.edge.gateway.judge.gate.state.put("service_token", replace(token(), enabled=False))
        await client.visitor.until(lambda: client.visitor.answer(client.stream_id).reset is not None)
        record = await record_of(house)
        assert (record["ServiceTokenID"] or record["UserID"], record["Detail"]) == (CLIENT_ID, "the token was revoked")


async def test_a_changed_rule_resets_what_it_no_longer_allows() -> None:
    from pyconnector.edge.access.entries import NetworkRuleEntry

    async with ip_house() as (house, client), echo_service() as port:
        end = TcpEnd(client, "127.0.0.1", port, source_port=4_000)
        await end.connect()
        gate = house.edge.gateway.judge.gate
        gate.state.put("network_rule", NetworkRuleEntry(rule=rule(action="block"), precedence=0))
        assert await end.step() == RST | ACK
        assert (await record_of(house))["Detail"] == "the rules changed"
        assert client.visitor.answer(client.stream_id).reset is None


async def test_private_names_have_addresses_that_stand_for_them() -> None:
    names = (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),)
    async with dns_service({"db.internal": "127.0.0.1"}) as resolver:
        rules = (rule(), rule(id="2", networks=None, names=["*.internal"]))
        options: dict[str, Any] = {"resolver": resolver.port, "edge": {"private_hostnames": names}, "rules": rules}
        async with ip_house(**options) as (house, client), echo_service() as port:
            found = {}
            for name in ("db.internal", "elsewhere.example"):
                client.send_udp(str(ROUTER), 53, dns.message.make_query(name, "A").to_wire())
                found[name] = dns.message.from_wire(decode_udp(await client.packet()).payload)
            assert found["elsewhere.example"].rcode() == dns.rcode.REFUSED
            address = str(found["db.internal"].answer[0][0])
            assert ip_address(address) in ip_network("172.64.128.0/20")
            packet = await TcpEnd(client, address, port, source_port=4_000).connect()
            assert packet.payload[:2] == b"\3\x0d"  # a name is no way around what loopback needs
            record = await record_of(house)
            assert (record["ResolvedFQDN"], record["OriginIP"]) == ("db.internal", "127.0.0.1")


async def test_a_client_that_leaves_ends_its_flows() -> None:
    async with ip_house() as (house, client), echo_service() as port:
        await TcpEnd(client, "127.0.0.1", port, source_port=4_000).connect()
        client.visitor.reset(client.stream_id)
        assert (await record_of(house))["ConnectionCloseReason"] == "CLIENT_CLOSED"
        async with asyncio.timeout(30):
            while len(gateway_of(house).judge):
                await asyncio.sleep(0.01)


async def test_a_broken_capsule_ends_the_tunnel() -> None:
    async with ip_house() as (_, client):
        client.visitor.send(client.stream_id, b"\x02\x01\x00")
        await client.visitor.until(lambda: client.visitor.answer(client.stream_id).reset is not None)
        assert client.visitor.answer(client.stream_id).reset is not None
