"""The way in for agents: HTTP CONNECT and SOCKS5 to private services, each flow judged and recorded."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge import PrivateHostname, PrivateRoute
from pyconnector.edge.access.state import AccessState
from pyconnector.edge.private.gateway import judge as judges
from pyconnector.edge.private.gateway.authenticator import Tokens
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp
from tests.support.dns_service import dns_service
from tests.support.gateway import CLIENT_ID, SECRET, Client, gateway_settings, rule, token
from tests.support.house import TUNNEL_ID
from tests.support.leaks import run_clean
from tests.support.loops import run_on_loop
from tests.support.private_house import LOOPBACK, PrivateHouse, private_house
from tests.support.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway

pytestmark = pytest.mark.usefixtures("each_loop")


@asynccontextmanager
async def echo_service() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
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
def test_bytes_travel_both_ways_and_leave_a_record(onramp: str) -> None:
    async def main() -> None:
        async with gateway_house() as house, echo_service() as port:
            client, through = await opened(house, onramp, "127.0.0.1", port)
            assert through
            for size in (1, 70_000):
                assert await client.ask(bytes(size)) == bytes(size)
            client.writer.write_eof()
            assert await client.rest() == b""
            record = await record_of(house)
            expected = {
                "UserID": CLIENT_ID, "TokenName": "agent-01", "SourceIP": "127.0.0.1", "Protocol": "TCP",
                "OriginIP": "127.0.0.1", "OriginPort": port, "DestinationTunnelID": str(TUNNEL_ID), "RuleID": "1",
                "DestinationReplicaID": str(house.connector.connector_id), "Decision": "allow", "BytesSent": 70_001,
                "BytesReceived": 70_001, "ConnectionCloseReason": "CLIENT_CLOSED", "VirtualNetworkName": "default",
                "Route": "127.0.0.0/8", "Offramp": "CFD_TUNNEL", "IngressColoName": "local",
            }  # fmt: skip
            assert {key: record[key] for key in expected} == expected
            assert SECRET not in json.dumps(record)
            client.close()

    run_on_loop(main())


@pytest.mark.parametrize("onramp", ONRAMPS)
@pytest.mark.parametrize(
    ("settings", "more", "detail"),
    [
        ({}, {"secret": "wrong"}, "The client id or its secret is not valid."),
        ({}, {"user": "nobody.access"}, "The client id or its secret is not valid."),
        ({"tokens": (token(enabled=False),)}, {}, "The client id or its secret is not valid."),
        ({"tokens": (token(expires=1.0),)}, {}, "The client id or its secret is not valid."),
        ({"rules": ()}, {}, "No network rule allows this."),
        ({"rules": (rule(ports=[1]),)}, {}, "No network rule allows this."),
        ({"rules": (rule(roles=["admin"]),)}, {}, "No network rule allows this."),
        ({"rules": (rule(networks=["0.0.0.0/0"]),)}, {}, "No network rule allows this."),
        ({}, {"user": f"{CLIENT_ID}+lab"}, "No network rule allows this."),
    ],
)
def test_who_may_not_is_refused_with_a_record(
    onramp: str, settings: dict[str, Any], more: dict[str, Any], detail: str
) -> None:
    async def main() -> None:
        async with gateway_house(**settings) as house, echo_service() as port:
            client, through = await opened(house, onramp, "127.0.0.1", port, **more)
            assert not through
            record = await record_of(house)
            assert record["Detail"] == detail
            assert record["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
            assert record["BytesSent"] == 0
            client.close()
            await asyncio.sleep(0.05)
            assert len(gateway_of(house).records.recent) == 1
            assert house.connector.counters.tcp_total == 0

    run_on_loop(main())


def test_who_is_not_allowed_does_not_learn_where_routes_lead() -> None:
    async def main() -> None:
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

    run_on_loop(main())


def test_a_service_that_refuses_is_told_apart() -> None:
    async def main() -> None:
        async with gateway_house() as house:
            async with echo_service() as port:
                pass
            client = await Client.at(gateway_of(house).http_address)
            assert await client.http_connect("127.0.0.1", port) == 504
            record = await record_of(house)
            assert record["ConnectionCloseReason"] == "ORIGIN_UNREACHABLE"
            assert "refused the connection" in record["Detail"]
            client.close()

    run_on_loop(main())


@pytest.mark.parametrize("onramp", ONRAMPS)
def test_a_private_name_is_resolved_behind_the_tunnel(onramp: str) -> None:
    async def main() -> None:
        names = {"private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),)}
        rules = (rule(names=["db.internal"]),)
        async with dns_service({"db.internal": "127.0.0.1", "other.internal": "127.0.0.1"}) as resolver:
            async with gateway_house(resolver.port, names, rules=rules) as house, echo_service() as port:
                # It resolves to a loopback address, and a name's route does not name that: no way around.
                client, through = await opened(house, onramp, "db.internal", port)
                assert not through
                record = await record_of(house)
                assert (record["ResolvedFQDN"], record["Decision"]) == ("db.internal", "block")
                client.close()

    run_on_loop(main())


def test_equal_networks_of_two_virtual_networks_are_two() -> None:
    async def main() -> None:
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

    run_on_loop(main())


def test_a_revoked_token_ends_its_running_flows() -> None:
    async def main() -> None:
        async with gateway_house() as house, echo_service() as port, UdpService() as service:
            gateway = gateway_of(house)
            client, _ = await opened(house, "http", "127.0.0.1", port)
            assert await client.ask(b"x") == b"x"
            control, where = await associated(house)
            udp = await udp_client(where)
            udp.send(encode_udp("127.0.0.1", service.port, b"x"))
            await service.wait_for(1)
            tokens = gateway.judge.authenticator
            assert isinstance(tokens, Tokens)
            tokens.put(replace(token(), enabled=False))
            gateway.judge.look_again()
            assert await client.rest() == b""
            for number in (0, 1):
                record = await record_of(house, number, count=2)
                assert (record["ConnectionCloseReason"], record["Detail"]) == (
                    "PROXY_CONN_REFUSED",
                    "the token was revoked",
                )
            udp.close()
            control.close()

    run_on_loop(main())


def test_rules_and_routes_that_change_end_the_flows_that_they_no_longer_allow() -> None:
    async def main() -> None:
        async with gateway_house() as house, echo_service() as port:
            judge = gateway_of(house).judge
            client, _ = await opened(house, "http", "127.0.0.1", port)
            judge.look_again()
            assert await client.ask(b"still") == b"still"
            judge.rules = ()
            judge.look_again()
            assert await client.rest() == b""
            assert (await record_of(house))["Detail"] == "the rules changed"
            judge.rules = (rule(),)
            client, _ = await opened(house, "http", "127.0.0.1", port)
            house.network._routes.drop_route("0")
            judge.look_again()
            assert await client.rest() == b""
            assert (await record_of(house, count=2))["Detail"] == "the route is gone"

    run_on_loop(main())


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


def test_udp_travels_through_socks_with_a_record_for_each_destination() -> None:
    async def main() -> None:
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

    run_on_loop(main())


def test_udp_that_may_not_be_is_dropped_and_recorded_once() -> None:
    async def main() -> None:
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
            assert [(await record_of(house, n, count=2))["Decision"] for n in (0, 1)] == ["block", "allow"]
            udp.close()
            stranger.close()

    run_on_loop(main())


def test_tls_is_spoken_where_it_is_asked_for() -> None:
    async def main() -> None:
        async with gateway_house(own_certificate=True) as house, echo_service() as port:
            context = ssl.create_default_context(cafile=house.edge.ca_path)
            client = await Client.at(gateway_of(house).http_address, context)
            assert await client.http_connect("127.0.0.1", port) == 200
            assert await client.ask(b"x" * 100_000) == b"x" * 100_000
            client.close()

    run_on_loop(main())


def test_clients_that_stall_or_lie_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.edge.private.gateway.client.HANDSHAKE_TIMEOUT", 0.3)

    async def main() -> None:
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

    run_on_loop(main())


def test_flows_of_one_token_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "MAX_FLOWS_PER_TOKEN", 2)

    async def main() -> None:
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

    run_on_loop(main())


def test_many_short_flows_at_once_leave_nothing() -> None:
    async def main() -> None:
        async with gateway_house() as house, echo_service() as port:

            async def one(number: int) -> None:
                client, through = await opened(house, ONRAMPS[number % 2], "127.0.0.1", port)
                assert through
                assert await client.ask(b"%d" % number) == b"%d" % number
                client.close()

            await asyncio.gather(*(one(number) for number in range(200)))
            await record_of(house, count=200)
            assert len(gateway_of(house).judge) == 0

    run_clean(main)


def test_records_are_added_to_a_file(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "sessions.jsonl"
        async with gateway_house(records=path) as house, echo_service() as port:
            for _ in range(3):
                client, _ = await opened(house, "http", "127.0.0.1", port, secret="wrong")
                client.close()
            await record_of(house, count=3)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["ClaimedUser"] for line in lines] == [CLIENT_ID] * 3
        assert path.stat().st_mode & 0o777 == 0o600

    run_on_loop(main())


def test_tokens_of_a_control_plane_count_as_they_are_now() -> None:
    async def main() -> None:
        access = AccessState()
        async with gateway_house(tokens=()) as house, echo_service() as port:
            judge = gateway_of(house).judge
            judge.authenticator = Tokens(access=access)
            client, through = await opened(house, "http", "127.0.0.1", port)
            assert not through
            client.close()
            access.put("service_token", token())
            client, through = await opened(house, "socks", "127.0.0.1", port)
            assert through
            assert list(access.take_used(asyncio.get_running_loop().time())) == [CLIENT_ID]
            access.drop("service_token", CLIENT_ID)
            judge.look_again()
            assert await client.rest() == b""
            assert (await record_of(house, count=2))["Detail"] == "the token was revoked"
            client.close()

    run_on_loop(main())
