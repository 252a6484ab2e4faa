"""The way in for agents: HTTP CONNECT and SOCKS5 to private services, each flow judged and recorded."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge import EdgeSettings, PrivateHostname, PrivateRoute
from pyconnector.edge.access.devices import DeviceEntry
from pyconnector.edge.access.entries import NetworkRuleEntry
from pyconnector.edge.access.failures import MAX_FAILURES
from pyconnector.edge.audit.files import log_files, read_log
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.private import names
from pyconnector.edge.private.gateway import judge as judges
from pyconnector.edge.private.gateway.associate import MAX_DESTINATIONS
from pyconnector.edge.private.network import Unreachable, Unroutable
from pyconnector.edge.settings import DirectorySettings, SettingsError
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp
from tests.support.houses.house import TUNNEL_ID
from tests.support.houses.private_house import LOOPBACK, PrivateHouse, private_house
from tests.support.identity.agents import Agent, World, person_token
from tests.support.peers.gateway import CLIENT_ID, SECRET, Client, connect_head, gateway_settings, rule, token
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway

pytestmark = pytest.mark.usefixtures("each_loop")


@asynccontextmanager
async def echo_service(host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, host, 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def gateway_house(
    resolver: int = 0, edge: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[PrivateHouse]:
    settings = {"gateway": gateway_settings(**more), **(edge or {})}
    async with private_house(settings=settings, resolver=resolver) as house:
        yield house


def gateway_of(house: PrivateHouse) -> Gateway:
    assert house.edge.gateway is not None
    return house.edge.gateway


async def record_of(house: PrivateHouse, number: int = -1, *, count: int = 1) -> dict[str, Any]:
    """The record of a flow, once there are `count`."""
    recent = gateway_of(house).records.recent
    async with asyncio.timeout(10):
        while len(recent) < count:
            await asyncio.sleep(0.01)
    return recent[number]


async def opened(house: PrivateHouse, onramp: str, host: str, port: int, **more: Any) -> tuple[Client, bool]:
    """Return a client, and whether it was let through."""
    gateway = gateway_of(house)
    if onramp == "http":
        client = await Client.at(gateway.http_address)
        return client, await client.http_connect(host, port, **more) == 200
    client = await Client.at(gateway.socks_address)
    return client, (await client.socks(host, port, **more))[0] == 0


ONRAMPS = ["http", "socks"]


@pytest.mark.parametrize("onramp", ONRAMPS)
async def test_bytes_travel_both_ways_and_leave_a_record(onramp: str) -> None:
    async with gateway_house() as house, echo_service() as port:
        client, through = await opened(house, onramp, "127.0.0.1", port)
        assert through
        for size in (1, 70_000):
            assert await client.ask(bytes(size)) == bytes(size)
        client.writer.write_eof()
        assert await client.rest() == b""
        record = await record_of(house)
        expected = {
            "UserID": CLIENT_ID, "ServiceTokenName": "agent-01", "ActorType": "service_token", "Role": "agent",
            "SourceIP": "127.0.0.1", "Protocol": "TCP", "OriginIP": "127.0.0.1", "OriginPort": port,
            "DestinationTunnelID": str(TUNNEL_ID), "RuleID": "1", "Action": "allow", "Allowed": True,
            "DestinationReplicaID": str(house.connector.connector_id), "Reason": "network_rule",
            "BytesSent": 70_001, "BytesReceived": 70_001, "ConnectionCloseReason": "CLIENT_CLOSED",
            "VirtualNetworkName": "default", "Route": "127.0.0.0/8", "Offramp": "CFD_TUNNEL",
            "IngressColoName": "local",
        }  # fmt: skip
        assert {key: record[key] for key in expected} == expected
        assert SECRET not in json.dumps(record)
        client.close()


@pytest.mark.parametrize("onramp", ONRAMPS)
@pytest.mark.parametrize(
    ("settings", "more", "detail"),
    [
        ({}, {"secret": "wrong"}, "The service token is not valid."),
        ({}, {"user": "nobody.access"}, "The service token is not valid."),
        ({"tokens": (token(enabled=False),)}, {}, "The service token is not valid."),
        ({"tokens": (token(expires=1.0),)}, {}, "The service token is not valid."),
        ({"rules": ()}, {}, "No network rule allows this."),
        ({"rules": (rule(ports=[1]),)}, {}, "No network rule allows this."),
        ({"rules": (rule(roles=["admin"]),)}, {}, "No network rule allows this."),
        ({"rules": (rule(networks=["0.0.0.0/0"]),)}, {}, "No network rule allows this."),
        ({}, {"user": f"{CLIENT_ID}+lab"}, "No network rule allows this."),
    ],
)
async def test_who_may_not_is_refused_with_a_record(
    onramp: str, settings: dict[str, Any], more: dict[str, Any], detail: str
) -> None:
    async with gateway_house(**settings) as house, echo_service() as port:
        client, through = await opened(house, onramp, "127.0.0.1", port, **more)
        assert not through
        record = await record_of(house)
        assert record["Detail"] == detail
        assert record["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
        assert record["BytesSent"] == 0
        # SOCKS says where to only once it is known who asks.
        assert record["RequestedHost"] == ("" if onramp == "socks" and not record["UserID"] else "127.0.0.1")
        client.close()
        await asyncio.sleep(0.05)
        assert len(gateway_of(house).records.recent) == 1
        assert house.connector.counters.tcp_total == 0


async def test_who_is_not_allowed_does_not_learn_where_routes_lead() -> None:
    async with gateway_house() as house:
        for host in ("10.1.2.3", "db.internal"):
            client = await Client.at(gateway_of(house).http_address)
            assert await client.http_connect(host, 80) == 403
            client.close()
    async with gateway_house(rules=(rule(networks=["10.0.0.0/8"]),)) as house:
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("10.1.2.3", 80) == 502
        assert (await record_of(house))["ConnectionCloseReason"] == "ORIGIN_UNROUTABLE"
        client.close()


async def test_a_service_that_refuses_is_told_apart() -> None:
    async with gateway_house() as house:
        async with echo_service() as port:
            pass
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("127.0.0.1", port) == 504
        record = await record_of(house)
        assert record["ConnectionCloseReason"] == "ORIGIN_UNREACHABLE"
        assert "refused the connection" in record["Detail"]
        client.close()


@pytest.mark.parametrize("onramp", ONRAMPS)
async def test_a_private_name_is_resolved_behind_the_tunnel(onramp: str) -> None:
    names = {"private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),)}
    rules = (rule(names=["db.internal"]),)
    async with dns_service({"db.internal": "127.0.0.1", "other.internal": "127.0.0.1"}) as resolver:
        async with gateway_house(resolver.port, names, rules=rules) as house, echo_service() as port:
            # It resolves to a loopback address, and a name's route does not name that: no way around.
            client, through = await opened(house, onramp, "db.internal", port)
            assert not through
            record = await record_of(house)
            assert (record["ResolvedFQDN"], record["Action"]) == ("db.internal", "block")
            client.close()


async def test_equal_networks_of_two_virtual_networks_are_two() -> None:
    lab = PrivateRoute(network=ip_network("127.0.0.0/8"), tunnel_id=TUNNEL_ID, virtual_network="lab")
    rules = (rule(virtual_networks=["lab"]),)
    async with gateway_house(edge={"private_routes": (*LOOPBACK, lab)}, rules=rules) as house:
        async with echo_service() as port:
            client, through = await opened(house, "socks", "127.0.0.1", port)
            assert not through
            client.close()
            client, through = await opened(house, "socks", "127.0.0.1", port, user=f"{CLIENT_ID}+lab")
            assert through
            client.close()
            by_header = await Client.at(gateway_of(house).http_address)
            assert await by_header.http_connect("127.0.0.1", port, headers={"Cf-Virtual-Network": "lab"}) == 200
            by_header.close()


async def test_a_revoked_token_ends_its_running_flows() -> None:
    async with gateway_house() as house, echo_service() as port, UdpService() as service:
        client, _ = await opened(house, "http", "127.0.0.1", port)
        assert await client.ask(b"x") == b"x"
        control, where = await associated(house)
        udp = await udp_client(where)
        udp.send(encode_udp("127.0.0.1", service.port, b"x"))
        await service.wait_for(1)
        house.edge.gate.state.put("service_token", replace(token(), enabled=False))
        assert await client.rest() == b""
        for number in (0, 1):
            record = await record_of(house, number, count=2)
            assert (record["ConnectionCloseReason"], record["Detail"]) == (
                "PROXY_CONN_REFUSED",
                "the token was revoked",
            )
        udp.close()
        control.close()


async def test_a_flow_has_the_mesh_address_of_its_device_and_ends_when_that_is_revoked() -> None:
    mesh_rule = rule(sources=["100.96.0.7/32"])
    async with gateway_house(rules=(mesh_rule,)) as house, echo_service() as port:
        state = house.edge.gate.state
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert not through  # it has no Mesh address
        client.close()
        device = DeviceEntry(id="d1", name="laptop", token_id=token().id, address=IPv4Address("100.96.0.7"))
        state.put("device", device)
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        state.put("device", replace(device, enabled=False))
        assert await client.rest() == b""
        record = await record_of(house, count=2)
        assert (record["SourceInternalIP"], record["DeviceID"], record["DeviceName"]) == ("100.96.0.7", "d1", "laptop")
        assert record["Detail"] == "the device was revoked"
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert not through
        assert (await record_of(house, count=3))["Reason"] == "revoked"
        client.close()


async def test_rules_and_routes_that_change_end_the_flows_that_they_no_longer_allow() -> None:
    async with gateway_house() as house, echo_service() as port:
        state = house.edge.gate.state
        client, _ = await opened(house, "http", "127.0.0.1", port)
        state.put("network_rule", NetworkRuleEntry(rule=rule(id="2"), precedence=1))
        assert await client.ask(b"still") == b"still"
        state.drop("network_rule", "1")
        assert await client.ask(b"by the other rule") == b"by the other rule"
        state.drop("network_rule", "2")
        assert await client.rest() == b""
        assert (await record_of(house))["Detail"] == "the rules changed"
        state.put("network_rule", NetworkRuleEntry(rule=rule()))
        client, _ = await opened(house, "http", "127.0.0.1", port)
        house.network.routes.drop_route("0")
        assert await client.rest() == b""
        assert (await record_of(house, count=2))["Detail"] == "the route is gone"


async def associated(house: PrivateHouse) -> tuple[Client, tuple[str, int]]:
    control = await Client.at(gateway_of(house).socks_address)
    code, where = await control.socks("0.0.0.0", 0, command=3)
    assert code == 0
    return control, where


class Udp(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.packets.put_nowait(data)

    def send(self, data: bytes) -> None:
        self.transport.sendto(data)

    def close(self) -> None:
        self.transport.close()

    async def receive(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.packets.get()


async def udp_client(where: tuple[str, int]) -> Udp:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Udp, remote_addr=where)
    return protocol


async def test_udp_travels_through_socks_with_a_record_for_each_destination() -> None:
    async with gateway_house() as house, UdpService() as service, UdpService() as other:
        control, where = await associated(house)
        udp = await udp_client(where)
        for each in (service, other):
            for data in (b"first", b"second", bytes(1200)):
                udp.send(encode_udp("127.0.0.1", each.port, data))
                assert decode_udp(await udp.receive()) == ("127.0.0.1", each.port, data)
        control.close()
        records = [await record_of(house, number, count=2) for number in (0, 1)]
        assert {record["OriginPort"] for record in records} == {service.port, other.port}
        assert {record["Protocol"] for record in records} == {"UDP"}
        assert {(record["BytesSent"], record["BytesReceived"]) for record in records} == {(1211, 1211)}
        udp.close()


async def test_udp_that_may_not_be_is_dropped_and_recorded_once() -> None:
    async with gateway_house() as house, UdpService() as service:
        control, where = await associated(house)
        udp, stranger = await udp_client(where), await udp_client(where)
        for _ in range(5):
            udp.send(encode_udp("10.9.9.9", 53, b"x"))
            await asyncio.sleep(0.02)
        udp.send(b"noise")
        udp.send(b"\x00\x00\x01" + encode_udp("127.0.0.1", service.port, b"fragment")[3:])
        stranger.send(encode_udp("127.0.0.1", service.port, b"stranger"))
        udp.send(encode_udp("127.0.0.1", service.port, b"x"))
        assert decode_udp(await udp.receive()) == ("127.0.0.1", service.port, b"x")
        assert service.received == [b"x"]
        control.close()
        assert [(await record_of(house, n, count=2))["Action"] for n in (0, 1)] == ["block", "allow"]
        udp.close()
        stranger.close()


async def test_tls_is_spoken_where_it_is_asked_for() -> None:
    async with gateway_house(own_certificate=True) as house, echo_service() as port:
        context = ssl.create_default_context(cafile=house.edge.ca_path)
        client = await Client.at(gateway_of(house).http_address, context)
        assert await client.http_connect("127.0.0.1", port) == 200
        assert await client.ask(b"x" * 100_000) == b"x" * 100_000
        client.close()
        client, through = await opened(house, "socks", "127.0.0.1", port)  # on loopback in the clear
        assert through
        client.close()


async def test_clients_that_stall_or_lie_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.edge.private.gateway.client.HANDSHAKE_TIMEOUT", 0.3)

    async with gateway_house() as house, echo_service() as port:
        gateway = gateway_of(house)
        for address in (gateway.http_address, gateway.socks_address):
            for start in (b"", b"\x05", b"CONNECT a:1 HTTP/1.1\r\nX: "):
                stalled = await Client.at(address)
                stalled.writer.write(start)
                began = time.monotonic()
                await stalled.rest()
                assert time.monotonic() - began < 8
                stalled.close()
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        client.close()


async def test_flows_of_one_token_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "MAX_FLOWS_PER_TOKEN", 2)

    async with gateway_house() as house, echo_service() as port:
        clients = [await opened(house, "http", "127.0.0.1", port) for _ in range(3)]
        assert [through for _, through in clients] == [True, True, False]
        record = await record_of(house)
        assert record["ConnectionCloseReason"] == "TOO_MANY_ACTIVE_SESSIONS_FOR_USER"
        clients[0][0].close()
        await record_of(house, count=2)
        again, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        for client in (clients[1][0], clients[2][0], again):
            client.close()


async def test_a_connector_that_goes_ends_its_flows_with_a_record_each() -> None:
    async with gateway_house() as house, echo_service() as port:
        clients = await asyncio.gather(*(opened(house, ONRAMPS[n % 2], "127.0.0.1", port) for n in range(200)))
        assert all(through for _, through in clients)
        await house.connector.stop()
        for client, _ in clients:
            assert await client.rest() == b""
            client.close()
        await record_of(house, count=200)
        reasons = {record["ConnectionCloseReason"] for record in gateway_of(house).records.recent}
        assert reasons == {"ORIGIN_ERROR"}
        assert len(gateway_of(house).judge) == 0
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert not through
        assert (await record_of(house, count=201))["ConnectionCloseReason"] == "ORIGIN_UNREACHABLE"
        client.close()


async def test_many_short_flows_at_once_leave_nothing() -> None:
    async with gateway_house() as house, echo_service() as port:

        async def one(number: int) -> None:
            client, through = await opened(house, ONRAMPS[number % 2], "127.0.0.1", port)
            assert through
            assert await client.ask(b"%d" % number) == b"%d" % number
            client.close()

        await asyncio.gather(*(one(number) for number in range(200)))
        await record_of(house, count=200)
        assert len(gateway_of(house).judge) == 0


async def test_records_are_in_the_audit_log_of_the_edge(tmp_path: Path) -> None:
    audit = {"audit": AuditSettings(directory=tmp_path)}
    async with gateway_house(edge=audit) as house, echo_service() as port:
        for secret in ("wrong", SECRET):
            client, _ = await opened(house, "http", "127.0.0.1", port, secret=secret)
            client.close()
        await record_of(house, count=2)
    records = [link.record for _, link in read_log(log_files(tmp_path)) if "SessionID" in link.record]
    assert [(record["ClaimedUser"], record["Reason"]) for record in records] == [
        (CLIENT_ID, "invalid_credentials"),
        ("", "network_rule"),
    ]


async def test_nothing_is_served_that_cannot_be_recorded(tmp_path: Path) -> None:
    audit = {"audit": AuditSettings(directory=tmp_path, refuse_when_full=True)}
    async with gateway_house(edge=audit) as house, echo_service() as port:
        assert house.edge.audit is not None
        house.edge.audit._failing = True
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("127.0.0.1", port) == 503
        assert (await record_of(house))["Reason"] == "audit_unavailable"
        house.edge.audit._failing = False
        client.close()


async def test_guessing_secrets_has_an_end() -> None:
    async with gateway_house() as house, echo_service() as port:
        for _ in range(MAX_FAILURES):
            client, _ = await opened(house, "http", "127.0.0.1", port, secret="wrong")
            client.close()
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("127.0.0.1", port) == 429
        client.close()


async def test_whoever_shows_nothing_is_not_guessing() -> None:
    async with gateway_house() as house, echo_service() as port:
        client, through = await opened(house, "http", "127.0.0.1", port, user="", secret="")
        assert not through
        assert (await record_of(house))["Reason"] == "no_credentials"
        assert len(house.edge.gate.failures) == 0
        client.close()


async def test_an_expired_token_ends_its_flows_by_itself() -> None:
    moment = 0.0
    soon = token(expires=time.time() + 1000)
    async with gateway_house(tokens=(soon,)) as house, echo_service() as port:
        house.edge.gate.clock = lambda: time.time() + moment
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        gateway_of(house).judge.check_time()
        assert await client.ask(b"x") == b"x"
        moment = 1000.0
        gateway_of(house).judge.check_time()
        assert await client.rest() == b""
        assert (await record_of(house))["Detail"] == "the credentials have expired"
        client.close()


AUDIENCES = tuple(uuid.uuid5(uuid.NAMESPACE_DNS, name).hex * 2 for name in ("mesh", "other"))


def filled(house: PrivateHouse) -> Agent:
    """Tell the edge of an agent and two applications; the gateway takes tokens of the first."""
    world = World(house.edge.gate.state)
    for name in ("mesh", "other"):
        world.application(name, f"{name}.example.com")
    return world.agent()


def issued(house: PrivateHouse, agent: Agent, audience: str = AUDIENCES[0], **claims: Any) -> dict[str, str]:
    """Headers with a token as an edge issues it."""
    issuer, state = house.edge.gate.issuer, house.edge.gate.state
    application, service_token = state.applications.of_audience(audience), state.token(agent.id)
    assert issuer is not None
    assert application is not None
    assert service_token is not None
    said = issuer.claims(service_token, application, 600, time.time()) | claims
    return {"Cf-Access-Token": issuer.sign(said).decode()}


async def with_token(house: PrivateHouse, port: int, headers: dict[str, str]) -> tuple[Client, int]:
    client = await Client.at(gateway_of(house).http_address)
    client.writer.write(connect_head("127.0.0.1", port, headers))
    return client, await client.status()


async def test_an_access_token_for_the_gateway_is_a_credential() -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        agent = filled(house)
        token = issued(house, agent)
        as_bearer = {"Proxy-Authorization": f"Bearer {token['Cf-Access-Token']}"}
        for headers in (token, as_bearer, issued(house, agent, type="session", methods=["CONNECT"])):
            client, status = await with_token(house, port, headers)
            assert status == 200
            assert await client.ask(b"x") == b"x"
            client.close()
        assert (await record_of(house))["ServiceTokenName"] == "agent-01"


@pytest.mark.parametrize(
    ("audience", "claims", "reason"),
    [
        (AUDIENCES[1], {}, "invalid_token"),
        (AUDIENCES[0], {"aud": ["c" * 64]}, "revoked"),
        (AUDIENCES[0], {"iss": "https://other.example.com"}, "invalid_token"),
        (AUDIENCES[0], {"exp": 1_700_000_000}, "invalid_token"),
        (AUDIENCES[0], {"type": "org"}, "invalid_token"),
        (AUDIENCES[0], {"type": "session", "path": "/docs"}, "outside_of_session"),
        (AUDIENCES[0], {"type": "session", "methods": ["GET"]}, "outside_of_session"),
        (AUDIENCES[0], {"common_name": "nobody.access"}, "revoked"),
    ],
)
async def test_an_access_token_for_anything_else_is_none(audience: str, claims: dict[str, Any], reason: str) -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        client, status = await with_token(house, port, issued(house, filled(house), audience, **claims))
        assert status == 407
        assert (await record_of(house))["Reason"] == reason
        client.close()


def person_of(house: PrivateHouse, email: str = "ann@example.com", **claims: Any) -> dict[str, str]:
    """Headers of somebody who logged in to the application of the gateway."""
    world = World(house.edge.gate.state)
    world.application("mesh", "mesh.example.com", policies=[world.people()])
    return {"Cf-Access-Token": person_token(house.edge.gate, AUDIENCES[0], email, **claims).decode()}


async def test_a_person_reaches_what_rules_for_people_name() -> None:
    rules = (rule(id="1", emails=["Ann@example.com"]), rule(id="2", roles=["agent"]))
    async with gateway_house(audiences=AUDIENCES[:1], rules=rules) as house, echo_service() as port:
        client, status = await with_token(house, port, person_of(house))
        assert status == 200
        assert await client.ask(b"x") == b"x"
        client.close()
        record = await record_of(house)
        said = (record["ActorType"], record["Email"], record["IdentityProviderID"], record["RuleID"])
        assert said == ("user", "ann@example.com", "pin", "1")
        for email, status, reason in (
            ("bob@example.com", 403, "no_network_rule"), ("eve@example.net", 407, "no_policy_matched")
        ):  # fmt: skip
            client, found = await with_token(house, port, person_of(house, email))
            assert found == status
            assert (await record_of(house, count=2))["Reason"] == reason
            client.close()
        # Rules for people let no service token pass, and the other way round.
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        client.close()
        assert (await record_of(house, count=4))["RuleID"] == "2"


@pytest.mark.parametrize("how", ["user", "provider", "policy", "rule", "revoked", "expired"])
async def test_what_let_a_person_in_ends_their_flows(how: str) -> None:
    rules = (rule(email_domains=["example.com"]),)
    async with gateway_house(audiences=AUDIENCES[:1], rules=rules) as house, echo_service() as port:
        client, _ = await with_token(house, port, person_of(house))
        assert await client.ask(b"x") == b"x"
        state = house.edge.gate.state
        world, later = World(state), time.time() + 5
        if how == "user":
            world.put("access_user", "u", {"email": "ann@example.com", "valid_after": later})
        elif how == "provider":
            state.drop("access_identity_provider", "pin")
        elif how == "policy":
            world.policy("people", "allow", include=[{"email": {"email": "bob@example.com"}}])
        elif how == "rule":
            state.put("network_rule", NetworkRuleEntry(rule=rule(emails=["bob@example.com"]), precedence=0))
        elif how == "revoked":
            world.application("mesh", "mesh.example.com", policies=["people"], valid_after=later)
        else:
            house.edge.gate.clock = lambda: later + 3600
            gateway_of(house).judge.check_time()
        assert await client.rest() == b""
        assert (await record_of(house))["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
        client.close()


@pytest.mark.parametrize("how", ["token", "policy", "application", "revoked"])
async def test_what_an_access_token_was_good_for_ends_its_flows(how: str) -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        agent = filled(house)
        client, _ = await with_token(house, port, issued(house, agent))
        assert await client.ask(b"x") == b"x"
        state = house.edge.gate.state
        if how == "token":
            agent.delete()
        elif how == "policy":
            agent.world.policy("mesh-policy", include=[{"role": {"role": "admin"}}])
        elif how == "application":
            state.drop("access_application", "mesh")
        else:
            agent.change(valid_after=time.time() + 1)
        assert await client.rest() == b""
        assert (await record_of(house))["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
        client.close()


async def test_flows_whose_token_is_revoked_while_they_are_opened_do_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_house() as house, echo_service() as port:
        judge = gateway_of(house).judge
        find = house.network.find

        async def slow(*args: Any) -> Any:
            found = await find(*args)
            house.edge.gate.state.put("service_token", replace(token(), enabled=False))
            return found

        monkeypatch.setattr(house.network, "find", slow)
        client, through = await with_reset(opened(house, "http", "127.0.0.1", port))
        assert not through
        assert (await record_of(house))["Detail"] == "the token was revoked"
        assert len(judge) == 0
        if client is not None:
            client.close()


async def with_reset(opening: Any) -> tuple[Client | None, bool]:
    try:
        found: tuple[Client, bool] = await opening
    except (ConnectionError, asyncio.IncompleteReadError):
        return None, False
    return found


def test_an_edge_with_a_control_plane_has_its_tokens_and_rules_from_there() -> None:
    for settings in (gateway_settings(rules=()), gateway_settings(tokens=())):
        with pytest.raises(SettingsError, match="knows tokens and network rules from there"):
            EdgeSettings(directory=DirectorySettings(url="http://control", token="t" * 20), gateway=settings)
    with pytest.raises(SettingsError, match="the same id"):
        gateway_settings(rules=(rule(), rule()))


@pytest.mark.parametrize("rebound", ["127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::7f00:1"])
async def test_a_name_that_is_rebound_gets_nowhere(rebound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MIN_TTL", 0.0)
    monkeypatch.setattr(names, "MAX_TTL", 0.0)

    hostnames = {"private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),)}
    async with dns_service({"db.internal": "192.0.2.1"}) as resolver:
        async with gateway_house(
            resolver.port, hostnames, rules=(rule(networks=None, names=["db.internal"]),)
        ) as house:
            dialled: list[str] = []

            async def open_tcp(destination: Any) -> Any:
                dialled.append(str(destination.address))
                raise Unreachable("It is not there.")

            monkeypatch.setattr(house.network, "open_tcp", open_tcp)
            client, through = await opened(house, "http", "db.internal", 80)
            assert not through
            assert dialled == ["192.0.2.1"]
            client.close()
            resolver.zone.records.clear()
            resolver.zone.records["db.internal", "AAAA" if ":" in rebound else "A"] = [rebound]
            client, through = await opened(house, "socks", "db.internal", 80)
            assert not through
            assert dialled == ["192.0.2.1"]
            record = await record_of(house, count=2)
            assert (record["Action"], record["ResolvedFQDN"]) == ("block", "db.internal")
            client.close()


async def test_addresses_with_a_zone_lead_nowhere() -> None:
    async with gateway_house() as house:
        client = await Client.at(gateway_of(house).socks_address)
        assert (await client.socks("::1%1", 80))[0] in (2, 3)
        client.close()
        with pytest.raises(Unroutable, match="has a zone"):
            await house.network.find("::1%1", 80)


async def test_new_flows_of_one_token_are_bounded_and_leave_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "NEW_FLOWS", 5)

    async with gateway_house() as house, echo_service() as port:
        house.edge.gate.ticks = lambda: 7.0
        through = []
        for number in range(20):
            client, let = await opened(house, ONRAMPS[number % 2], "127.0.0.1", port)
            through.append(let)
            client.close()
        assert through == [True] * 5 + [False] * 15
        await record_of(house, count=6)
        await asyncio.sleep(0.05)
        reasons = [record["ConnectionCloseReason"] for record in gateway_of(house).records.recent]
        assert reasons.count("TOO_MANY_NEW_SESSIONS_FOR_USER") == 1
        assert len(reasons) == 6
        house.edge.gate.ticks = lambda: 8.0
        client, let = await opened(house, "http", "127.0.0.1", port)
        assert let
        client.close()


async def test_guesses_beyond_the_limit_leave_no_records() -> None:
    async with gateway_house() as house:
        for _ in range(MAX_FAILURES + 10):
            client, _ = await opened(house, "http", "127.0.0.1", 1, secret="wrong")
            client.close()
        assert len(gateway_of(house).records.recent) == MAX_FAILURES


SOCKS_LIES = {
    "methods that do not come": b"\x05\xff\x02",
    "a name of no length": b"\x05\x01\x02\x01\x00\x00",
    "a secret that does not come": b"\x05\x01\x02\x01\x01x\xffshort",
    "another version inside": b"\x05\x01\x02\x05\x01x\x01y",
    "HTTP to SOCKS": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "one byte": b"\x05",
}


async def test_socks_clients_that_lie_or_stall_hold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.edge.private.gateway.client.HANDSHAKE_TIMEOUT", 0.2)

    async with gateway_house() as house, echo_service() as port:
        gateway = gateway_of(house)
        for data in SOCKS_LIES.values():
            liar = await Client.at(gateway.socks_address)
            liar.writer.write(data)
            assert len(await liar.rest()) <= 4
            liar.close()
        long = await Client.at(gateway.socks_address)  # more than one message at once, behind each other
        long.writer.write(b"\x05\x01\x02" * 30_000)
        await long.rest()
        long.close()
        client, through = await opened(house, "socks", "127.0.0.1", port)
        assert through
        client.close()
        async with asyncio.timeout(5):
            while len(gateway._clients):
                await asyncio.sleep(0.01)


async def test_udp_of_many_destinations_is_bounded() -> None:
    async with gateway_house() as house, UdpService() as service:
        control, where = await associated(house)
        udp = await udp_client(where)
        for number in range(2_000):
            udp.send(encode_udp("127.0.0.1", 1 + number % 60_000, b"x"))
            udp.send(b"\x00\x00\x01" + encode_udp("127.0.0.1", service.port, b"fragment")[3:])
            if not number % 100:
                await asyncio.sleep(0.001)
        assert len(gateway_of(house).judge) <= MAX_DESTINATIONS
        control.close()
        async with asyncio.timeout(10):
            while len(gateway_of(house).judge):
                await asyncio.sleep(0.01)
        assert service.received == []
        udp.close()
