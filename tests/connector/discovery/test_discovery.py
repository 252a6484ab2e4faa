from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.api.errors import EdgeNotFound, StartFailed
from pyconnector.connector.config import EdgeConfig
from pyconnector.connector.discovery.addresses import find_edge, resolve_given, split_host_port
from pyconnector.connector.discovery.region_names import PORT
from pyconnector.connector.discovery.resolvers import NoAnswer, Target
from pyconnector.transport.proxy.address import parse_proxy

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


def first(addresses: Sequence[Address]) -> Address:
    return addresses[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge.example:7844", ("edge.example", 7844)),
        ("edge.example", ("edge.example", PORT)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("[2001:db8::1]", ("2001:db8::1", PORT)),
        ("2001:db8::1", ("2001:db8::1", PORT)),
        (" 192.0.2.1:65535 ", ("192.0.2.1", 65535)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert split_host_port(text) == expected


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:65536", "a:x", "a:²", "[::1", "[::1]x", "[]:1"])
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|IPV6|port between"):
        split_host_port(text)


async def test_given_addresses_are_used_without_dns_where_they_are_literal() -> None:
    book = await find_edge(EdgeConfig(addresses=("192.0.2.1:1", "[2001:db8::1]:2")), choose=first)
    assert {book.take(0), book.take(1)} == {("192.0.2.1", 1), ("2001:db8::1", 2)}
    assert book.capacity(4) == 4


async def test_a_name_is_looked_up_once_and_bad_ones_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    regions = await resolve_given(["localhost:5", "does-not-exist.invalid:5"], ip_version="4")
    assert [region.active() for region in regions] == [[("127.0.0.1", 5)]]
    (said,) = caplog.records
    assert said.getMessage() == "Cannot use an edge address"
    assert said.exc_info is None, "a traceback is no sentence"


async def test_where_none_can_be_used_the_error_says_why_and_nothing_else_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(StartFailed, match=r"a:x: .*no port.*; does-not-exist\.invalid: "):
        await resolve_given(["a:x", "does-not-exist.invalid"])
    assert not caplog.records


async def test_an_address_of_the_other_family_is_left_out() -> None:
    with pytest.raises(StartFailed, match="is no IPv6 address"):
        await resolve_given(["192.0.2.1:1"], ip_version="6")


class _Deaf:
    """A resolver of a network that names nothing outside."""

    timeout = 1.0

    async def targets(self, name: str) -> list[Target]:
        raise NoAnswer("no such name")

    async def addresses(self, host: str) -> list[str]:
        raise NoAnswer("no such name")


async def test_an_edge_that_dns_does_not_know_is_left_to_the_proxy() -> None:
    proxy = parse_proxy("http://proxy.test:3128")
    book = await find_edge(EdgeConfig(region="us", proxy=proxy), choose=first, resolvers=[_Deaf()])
    assert book.addresses == [("us-region1.v2.argotunnel.com", 7844), ("us-region2.v2.argotunnel.com", 7844)]
    assert book.capacity(4) == 4
    with pytest.raises(EdgeNotFound, match="no such name"):
        await find_edge(EdgeConfig(), choose=first, resolvers=[_Deaf()])
