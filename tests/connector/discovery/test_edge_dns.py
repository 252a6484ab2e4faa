"""The edge found through DNS: a server of the test's own, over UDP, TCP and TLS, that answers well or badly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from pyconnector import Connector
from pyconnector.connector.api.errors import EdgeNotFound
from pyconnector.connector.config import EdgeConfig
from pyconnector.connector.discovery import srv_lookup
from pyconnector.connector.discovery.addresses import find_edge
from pyconnector.connector.discovery.resolvers import SystemResolver, TlsResolver
from pyconnector.connector.discovery.srv_lookup import MAX_ADDRESSES, look_up, srv_name
from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import Eager, config_for, tunnel
from tests.support.identity.certificates import Authority
from tests.support.services.dns_server import DnsServer, Zone, dns_server

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


NAME = srv_name("")
PUBLIC = "resolver.example"


def zone() -> Zone:
    return Zone(
        {
            (NAME, "SRV"): ["20 1 7844 region2.example.", "10 1 7844 region1.example.", "30 1 7844 region3.example."],
            ("region1.example", "A"): ["192.0.2.1", "192.0.2.3"],
            ("region1.example", "AAAA"): ["2001:db8::1"],
            ("region2.example", "A"): ["192.0.2.2"],
        }
    )


async def unknown_host(host: str) -> list[str]:
    raise OSError(-2, "Name or service not known")


def system(server: DnsServer) -> SystemResolver:
    found = SystemResolver(server.resolver, look_up_host=unknown_host)
    found.timeout = 0.5 if server.silent or server.twist else 30.0  # a busy machine is not what is tried
    return found


def first(addresses: Sequence[Address]) -> Address:
    return addresses[0]


async def addresses_of(server: DnsServer, **more: Any) -> list[list[Address]]:
    regions = await look_up("", ip_version=more.get("ip_version", "auto"), resolvers=[system(server)])
    return [sorted(region.active()) for region in regions]  # a resolver answers in any order


async def with_server(zone: Zone, scenario: Callable[[DnsServer], Coroutine[Any, Any, None]]) -> None:
    async with dns_server(zone) as server:
        await scenario(server)


async def test_srv_records_name_two_regions_in_order_of_priority() -> None:
    async def scenario(server: DnsServer) -> None:
        assert await addresses_of(server) == [[("192.0.2.1", 7844), ("192.0.2.3", 7844)], [("192.0.2.2", 7844)]]
        book = await find_edge(EdgeConfig(), choose=first, resolvers=[system(server)])
        assert book.capacity(4) == 3

    names = zone()
    await with_server(names, scenario)
    assert names.asked[0] == "udp SRV _v2-origintunneld._tcp.argotunnel.com"


def test_a_region_has_records_of_its_own() -> None:
    assert srv_name("us") == "_us-v2-origintunneld._tcp.argotunnel.com"


@pytest.mark.parametrize(("version", "expected"), [("4", "192.0.2.1"), ("6", "2001:db8::1")])
async def test_only_the_wanted_family_is_dialled(version: str, expected: str) -> None:
    async def scenario(server: DnsServer) -> None:
        found = await addresses_of(server, ip_version=version)
        assert found[0][0] == (expected, 7844)
        assert found[1] == ([("192.0.2.2", 7844)] if version == "4" else [])

    await with_server(zone(), scenario)


async def test_an_edge_without_the_wanted_family_is_said() -> None:
    names = zone()
    del names.records["region1.example", "AAAA"]

    async def scenario(server: DnsServer) -> None:
        with pytest.raises(EdgeNotFound, match=r"no IPv6 address of the edge \(--edge-ip-version\)"):
            await addresses_of(server, ip_version="6")

    await with_server(names, scenario)


async def test_what_the_system_knows_of_a_host_counts() -> None:
    async def hosts_file(host: str) -> list[str]:
        return ["127.0.0.9"]

    async def scenario(server: DnsServer) -> None:
        resolver = SystemResolver(server.resolver, look_up_host=hosts_file)
        regions = await look_up("", ip_version="auto", resolvers=[resolver])
        assert [list(region.addresses) for region in regions] == [[("127.0.0.9", 7844)]] * 2
        book = await find_edge(EdgeConfig(), choose=first, resolvers=[resolver])
        assert book.capacity(4) == 1, "an address that both regions name is one"

    await with_server(zone(), scenario)


@pytest.mark.usefixtures("each_loop")
async def test_a_failing_resolver_is_replaced_by_a_public_one_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    broken, public = zone(), zone()
    broken.records.clear()
    public.records["region2.example", "A"] = ["192.0.2.77"]

    async with dns_server(broken) as ours, dns_server(public, authority.server(PUBLIC)) as other:
        over_tls = TlsResolver(("127.0.0.1", other.tls_port, PUBLIC), verify=str(authority.path))
        regions = await look_up("", ip_version="auto", resolvers=[system(ours), over_tls])
        assert [min(region.addresses) for region in regions] == [("192.0.2.1", 7844), ("192.0.2.77", 7844)]
        assert public.asked[0] == f"tls SRV {NAME}"


async def test_a_public_resolver_with_another_certificate_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async with dns_server(zone(), authority.server("somebody.example")) as other:
        over_tls = TlsResolver(("127.0.0.1", other.tls_port, PUBLIC), verify=str(authority.path))
        with pytest.raises(EdgeNotFound, match="certificate verify failed"):
            await look_up("", ip_version="auto", resolvers=[over_tls])


# -- bad answers ---------------------------------------------------------------------------------------------------


async def test_a_resolver_that_is_silent_is_given_up() -> None:
    async def scenario(server: DnsServer) -> None:
        server.silent = True
        with pytest.raises(EdgeNotFound, match=r"no answer in time.*--edge HOST:PORT"):
            await addresses_of(server)

    await with_server(zone(), scenario)


async def test_a_thousand_addresses_are_cut_to_what_is_needed() -> None:
    names = zone()
    names.records["region1.example", "A"] = [f"198.51.{index // 250}.{index % 250 + 1}" for index in range(1000)]

    async def scenario(server: DnsServer) -> None:
        assert [len(each) for each in await addresses_of(server)] == [MAX_ADDRESSES, 1]
        assert "tcp A region1.example" in names.asked, "it does not fit a datagram"

    await with_server(names, scenario)


async def test_a_thousand_regions_are_two() -> None:
    names = zone()
    names.records[NAME, "SRV"] = [f"{index} 1 7844 region{index % 2 + 1}.example." for index in range(1000)]

    async def scenario(server: DnsServer) -> None:
        assert len(await addresses_of(server)) == 2

    await with_server(names, scenario)


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (["0 0 0 ."], "names 0 regions"),
        (["1 1 0 region1.example.", "2 1 0 region2.example."], "names 0 regions"),
        (["1 1 7844 region1.example."], "names 1 regions of the edge, and 2 are needed"),
        (["1 1 7844 region1.example.", "2 1 7844 missing.example."], "missing.example, a region of the edge"),
        (["1 1 7844 region1.example.", "2 1 7844 nowhere.example."], "nowhere.example, a region of the edge, has no"),
    ],
)
async def test_records_that_lead_nowhere_are_said(records: list[str], sentence: str) -> None:
    names = zone()
    names.records[NAME, "SRV"] = records
    names.records["nowhere.example", "A"] = ["0.0.0.0", "224.0.0.1", "255.255.255.255"]

    async def scenario(server: DnsServer) -> None:
        with pytest.raises(EdgeNotFound, match=sentence):
            await addresses_of(server)

    await with_server(names, scenario)


def _refused(reply: dns.message.Message) -> dns.message.Message:
    reply.answer.clear()
    reply.set_rcode(dns.rcode.SERVFAIL)
    return reply


def _another_name(reply: dns.message.Message) -> dns.message.Message:
    reply.answer = [dns.rrset.from_text("elsewhere.example.", 60, "IN", "A", "192.0.2.66")]
    return reply


def _in_a_circle(reply: dns.message.Message) -> dns.message.Message:
    name = reply.question[0].name
    reply.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", name.to_text())]
    return reply


def _another_question(reply: dns.message.Message) -> dns.message.Message:
    reply.id ^= 1
    return reply


@pytest.mark.parametrize("twist", [_refused, _another_name, _in_a_circle, _another_question])
async def test_answers_that_are_none_are_not_believed(
    twist: Callable[[dns.message.Message], dns.message.Message],
) -> None:
    async def scenario(server: DnsServer) -> None:
        server.twist = twist
        with pytest.raises(EdgeNotFound, match="could not look the edge up in DNS"):
            await addresses_of(server)

    await with_server(zone(), scenario)


async def test_nobody_to_ask_is_one_sentence() -> None:
    class Nobody(SystemResolver):
        async def _ask(self, name: str, kind: str) -> Any:
            return await super()._ask("a..b", kind)

    with pytest.raises(EdgeNotFound, match="--edge HOST:PORT names an edge without DNS"):
        await look_up("", ip_version="auto", resolvers=[Nobody(), Nobody()])


# -- the address to connect from -----------------------------------------------------------------------------------


async def test_an_address_of_another_machine_cannot_be_connected_from() -> None:
    with pytest.raises(EdgeNotFound, match=r"cannot connect from 192\.0\.2\.1 \(--edge-bind-address\)"):
        await find_edge(EdgeConfig(addresses=("127.0.0.1:1",), bind_address="192.0.2.1"), choose=first)
    await find_edge(EdgeConfig(addresses=("127.0.0.1:1",), bind_address="127.0.0.1"), choose=first)


class FirstAndSoon(Eager):
    """Chooses the first address; waits are short."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


@pytest.mark.usefixtures("each_loop")
async def test_a_connector_finds_its_edge_by_dns_and_leaves_a_region_that_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
        live, dead = edge.quic_address[1], free_udp_port()
        names = Zone(
            {
                (NAME, "SRV"): [f"10 1 {dead} region1.example.", f"20 1 {live} region2.example."],
                ("region1.example", "A"): ["127.0.0.1"],
                ("region2.example", "A"): ["127.0.0.1"],
            }
        )
        async with dns_server(names) as server:
            monkeypatch.setattr(srv_lookup, "DEFAULT_RESOLVERS", (system(server),))
            config = config_for(edge, [{"service": "http_status:404"}])
            found = replace(config.edge, addresses=())
            connector = Connector(replace(config, edge=found))
            connector._random = FirstAndSoon()
            async with connector:
                async with asyncio.timeout(30):
                    await connector.wait_ready()
                (info,) = connector.connections
                assert info.address == ("127.0.0.1", live)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
