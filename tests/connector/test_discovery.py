from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.rrset
import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.config import EdgeConfig
from pyconnector.connector.discovery import addresses as discovery
from pyconnector.connector.discovery import srv_lookup
from pyconnector.connector.discovery.addresses import find_edge, resolve_given, split_host_port
from pyconnector.connector.discovery.srv_lookup import look_up, srv_name

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


def first(addresses: Sequence[Address]) -> Address:
    return addresses[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge.example:7844", ("edge.example", 7844)),
        ("edge.example", ("edge.example", discovery.DEFAULT_PORT)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("[2001:db8::1]", ("2001:db8::1", discovery.DEFAULT_PORT)),
        ("2001:db8::1", ("2001:db8::1", discovery.DEFAULT_PORT)),
        (" 192.0.2.1:65535 ", ("192.0.2.1", 65535)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert split_host_port(text) == expected


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:65536", "a:x", "a:²", "[::1", "[::1]x", "[]:1"])
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|IPV6|port between"):
        split_host_port(text)


def test_given_addresses_are_used_without_dns_where_they_are_literal() -> None:
    async def scenario() -> None:
        book = await find_edge(EdgeConfig(addresses=("192.0.2.1:1", "[2001:db8::1]:2")), choose=first)
        assert {book.take(0), book.take(1)} == {("192.0.2.1", 1), ("2001:db8::1", 2)}
        assert book.capacity(4) == 4

    asyncio.run(scenario())


def test_a_name_is_looked_up_once_and_bad_ones_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        regions = await resolve_given(["localhost:5", "does-not-exist.invalid:5"], ip_version="4")
        assert [region.active() for region in regions] == [[("127.0.0.1", 5)]]

    asyncio.run(scenario())
    (said,) = caplog.records
    assert said.getMessage() == "Cannot use an edge address"
    assert said.exc_info is None, "a traceback is no sentence"


def test_where_none_can_be_used_the_error_says_why_and_nothing_else_does(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StartFailed, match=r"a:x: .*no port.*; does-not-exist\.invalid: "):
        asyncio.run(resolve_given(["a:x", "does-not-exist.invalid"]))
    assert not caplog.records


def test_an_address_of_the_other_family_is_left_out() -> None:
    with pytest.raises(StartFailed, match="is no IPv6 address"):
        asyncio.run(resolve_given(["192.0.2.1:1"], ip_version="6"))


# -- SRV records ---------------------------------------------------------------------------------------------------

RECORDS = ("20 1 7844 region2.example.", "10 1 7844 region1.example.", "30 1 7844 region3.example.")
ADDRESSES = {"region1.example": ["192.0.2.1", "2001:db8::1"], "region2.example": ["192.0.2.2"]}


@pytest.fixture
def fake_dns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system's resolver and the public one, both made up; returns the names asked for."""
    asked: list[str] = []

    async def system(name: str, kind: str, lifetime: float) -> object:
        asked.append(f"system {name}")
        return dns.rrset.from_text(name + ".", 60, "IN", "SRV", *RECORDS)

    async def addresses(self: object, host: str, port: int, **more: object) -> list[object]:
        if host not in ADDRESSES:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in ADDRESSES[host]]

    monkeypatch.setattr("dns.asyncresolver.resolve", system)
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", addresses)
    return asked


def test_srv_records_name_two_regions_in_order_of_priority(fake_dns: list[str]) -> None:
    async def scenario() -> None:
        regions = await look_up("", ip_version="auto")
        assert [list(region.addresses) for region in regions] == [
            [("192.0.2.1", 7844), ("2001:db8::1", 7844)], [("192.0.2.2", 7844)],
        ]  # fmt: skip
        book = await find_edge(EdgeConfig(), choose=first)
        assert book.capacity(4) == 2

    asyncio.run(scenario())
    assert fake_dns[0] == "system _v2-origintunneld._tcp.argotunnel.com"


def test_a_region_has_records_of_its_own() -> None:
    assert srv_name("us") == "_us-v2-origintunneld._tcp.argotunnel.com"


def test_a_failing_resolver_is_replaced_by_a_public_one_over_tls(
    fake_dns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(name: str, kind: str, lifetime: float) -> object:
        raise dns.exception.Timeout

    async def over_tls(query: dns.message.Message, server: str, **more: object) -> dns.message.Message:
        fake_dns.append(f"tls {server} {more['server_hostname']}")
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "SRV", *RECORDS))
        return reply

    monkeypatch.setattr("dns.asyncresolver.resolve", broken)
    monkeypatch.setattr("dns.asyncquery.tls", over_tls)
    assert len(asyncio.run(look_up("", ip_version="auto"))) == 2
    assert fake_dns == ["tls 1.1.1.1 cloudflare-dns.com"]


def test_no_dns_at_all_is_one_sentence_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: object, **more: object) -> object:
        raise OSError("network is unreachable")

    monkeypatch.setattr("dns.asyncresolver.resolve", broken)
    monkeypatch.setattr("dns.asyncquery.tls", broken)
    with pytest.raises(StartFailed, match=r"network is unreachable.*--edge HOST:PORT"):
        asyncio.run(look_up("", ip_version="auto"))


def test_too_few_regions_and_a_region_without_addresses_are_said(
    fake_dns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADDRESSES, "region2.example", [])
    with pytest.raises(StartFailed, match=r"region2\.example, a region of the edge, has no address"):
        asyncio.run(look_up("", ip_version="auto"))
    monkeypatch.setattr(f"{__name__}.RECORDS", RECORDS[:1])
    monkeypatch.setattr(srv_lookup, "REGIONS", 2)
    with pytest.raises(StartFailed, match=r"DNS names 1 regions"):
        asyncio.run(look_up("", ip_version="auto"))
