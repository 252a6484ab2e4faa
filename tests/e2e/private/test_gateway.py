"""The way in for agents: HTTP CONNECT and SOCKS5 to private services, each flow judged and recorded."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge import EdgeSettings, PrivateHostname, PrivateRoute
from pyconnector.edge.access.devices import DeviceEntry
from pyconnector.edge.access.entries import NetworkRuleEntry
from pyconnector.edge.audit.files import log_files, read_log
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.private import names
from pyconnector.edge.private.network import Unreachable, Unroutable
from pyconnector.edge.settings import DirectorySettings, SettingsError
from pyconnector.protocol.proxying.socks5 import encode_udp
from tests.support.houses.gateway_house import (
    ONRAMPS,
    associated,
    echo_service,
    gateway_house,
    gateway_of,
    opened,
    record_of,
    udp_client,
)
from tests.support.houses.house import TUNNEL_ID
from tests.support.houses.private_house import LOOPBACK
from tests.support.peers.gateway import CLIENT_ID, SECRET, Client, gateway_settings, rule, token
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.usefixtures("each_loop")


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
