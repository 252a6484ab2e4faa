"""Capsules and paths of CONNECT-IP."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.protocol.capsules import encode_udp_capsule
from pyconnector.protocol.connect_ip import (
    ADDRESS_ASSIGN,
    ADDRESS_REQUEST,
    MAX_VALUE,
    ROUTE_ADVERTISEMENT,
    IpCapsuleReader,
    IpRange,
    PrefixAddress,
    Scope,
    decode_addresses,
    decode_routes,
    encode_addresses,
    encode_capsule,
    encode_path,
    encode_routes,
    ip_packet,
    read_path,
)
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.proxy_request import BadProxyRequest

FOUR, SIX = IPv4Address("100.96.0.2"), IPv6Address("fd00::2")
ASSIGNED = (PrefixAddress(0, FOUR, 32), PrefixAddress(70_000, SIX, 128), PrefixAddress(2, IPv4Address("10.0.0.0"), 8))
ROUTES = (
    IpRange(IPv4Address("10.0.0.0"), IPv4Address("10.255.255.255")),
    IpRange(IPv4Address("192.168.0.0"), IPv4Address("192.168.255.255")),
    IpRange(IPv4Address("10.0.0.0"), IPv4Address("10.0.0.5"), 17),
    IpRange(IPv6Address("fd00::"), IPv6Address("fd00::ffff")),
)


def value_of(capsule: bytes) -> tuple[int, bytes]:
    reader = IpCapsuleReader()
    reader.feed(capsule)
    found = reader.next()
    assert found is not None
    assert reader.next() is None
    return found


def test_addresses_are_read_as_they_were_written() -> None:
    kind, value = value_of(encode_addresses(ADDRESS_ASSIGN, ASSIGNED))
    assert (kind, decode_addresses(kind, value)) == (ADDRESS_ASSIGN, ASSIGNED)
    assert decode_addresses(ADDRESS_ASSIGN, b"") == ()
    # RFC 9484 figure 8: request id, version, address, prefix length
    assert encode_addresses(ADDRESS_ASSIGN, ASSIGNED[:1]) == b"\x01\x07\x00\x04\x64\x60\x00\x02\x20"


def test_routes_are_read_as_they_were_written() -> None:
    kind, value = value_of(encode_routes(ROUTES))
    assert (kind, decode_routes(value)) == (ROUTE_ADVERTISEMENT, ROUTES)


@pytest.mark.parametrize(
    "value",
    [
        b"\x01", b"\x01\x04", b"\x01\x04\x0a\x00\x00", b"\x01\x04\x0a\x00\x00\x00", b"\x01\x05\x0a\x00\x00\x00\x20",
        b"\x01\x04\x0a\x00\x00\x00\x21", b"\x01\x04\x0a\x00\x00\x01\x18", b"\x40", b"\x01\x06" + bytes(16) + b"\x81",
    ],
)  # fmt: skip
def test_malformed_addresses_are_refused(value: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_addresses(ADDRESS_ASSIGN, value)


@pytest.mark.parametrize("ids", [[], [0], [3, 3]])
def test_a_request_needs_ids_of_its_own(ids: list[int]) -> None:
    value = value_of(encode_addresses(ADDRESS_REQUEST, [PrefixAddress(each, FOUR, 32) for each in ids]))[1]
    with pytest.raises(ProtocolError):
        decode_addresses(ADDRESS_REQUEST, value)


@pytest.mark.parametrize(
    "routes",
    [
        (ROUTES[1], ROUTES[0]), (ROUTES[3], ROUTES[0]), (ROUTES[2], ROUTES[0]), (ROUTES[0], ROUTES[0]),
        (IpRange(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1")),),
    ],
)  # fmt: skip
def test_routes_that_overlap_or_are_out_of_order_are_refused(routes: tuple[IpRange, ...]) -> None:
    with pytest.raises(ProtocolError, match="out of order"):
        decode_routes(value_of(encode_routes(routes))[1])


def test_cut_routes_are_refused() -> None:
    value = value_of(encode_routes(ROUTES[:1]))[1]
    for end in range(1, len(value)):
        with pytest.raises(ProtocolError):
            decode_routes(value[:end])


def test_capsules_come_in_any_pieces_and_unknown_ones_are_passed_over() -> None:
    packet = b"\x45packet"
    stream = b"".join(
        (encode_addresses(ADDRESS_ASSIGN, ASSIGNED), encode_capsule(0x1234, b"x" * 500), encode_udp_capsule(packet),
         encode_capsule(99, b""), encode_routes(ROUTES))
    )  # fmt: skip
    whole = [kind for kind, _ in read_all(stream, len(stream))]
    assert whole == [ADDRESS_ASSIGN, -1, 0, -1, ROUTE_ADVERTISEMENT]
    for size in (1, 2, 3, 7, 100):
        assert read_all(stream, size) == read_all(stream, len(stream))
    assert ip_packet(read_all(stream, 5)[2][1]) == packet


def read_all(stream: bytes, size: int) -> list[tuple[int, bytes]]:
    reader, found = IpCapsuleReader(), []
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
        while (capsule := reader.next()) is not None:
            found.append(capsule)
    return found


def test_capsules_beyond_any_need_are_refused() -> None:
    reader = IpCapsuleReader()
    reader.feed(encode_capsule(ADDRESS_ASSIGN, bytes(MAX_VALUE + 1))[:10])
    with pytest.raises(ProtocolError, match="too long"):
        reader.next()


def test_packets_are_of_context_0() -> None:
    assert ip_packet(b"\x00E") == b"E"
    assert ip_packet(b"\x02E") is None
    with pytest.raises(ProtocolError):
        ip_packet(b"")


@given(data=st.binary(max_size=300), kind=st.sampled_from([ADDRESS_ASSIGN, ADDRESS_REQUEST]))
def test_any_bytes_are_read_or_refused(data: bytes, kind: int) -> None:
    for read in (lambda: decode_addresses(kind, data), lambda: decode_routes(data), lambda: read_all(data, 50)):
        try:
            read()
        except ProtocolError:
            continue


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        (encode_path(), Scope()),
        (b"/.well-known/masque/ip/%2A/%2a/", Scope()),
        (b"/.well-known/masque/ip/10.0.0.0%2F8/17/", Scope(ip_network("10.0.0.0/8"), 17)),
        (b"/.well-known/masque/ip/fd00%3A%3A1/*/", Scope(ip_network("fd00::1/128"))),
    ],
)
def test_paths_say_what_is_asked_for(path: bytes, scope: Scope) -> None:
    assert read_path(path) == scope


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"/.well-known/masque/ip/*/", b"/.well-known/masque/ip/db.internal/*/", b"/.well-known/masque/ip/*/256/",
        b"/.well-known/masque/ip/10.0.0.1%2F8/*/", b"/.well-known/masque/ip/*/1*/", b"/.well-known/masque/udp/*/*/",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path: bytes) -> None:
    with pytest.raises(BadProxyRequest):
        read_path(path)


def test_a_scope_holds_its_network_and_protocol_and_icmp() -> None:
    scope = Scope(ip_network("10.0.0.0/8"), 17)
    assert scope.holds(ip_address("10.1.2.3"), 17)
    assert scope.holds(ip_address("10.1.2.3"), 1)
    assert not scope.holds(ip_address("10.1.2.3"), 6)
    assert not scope.holds(ip_address("11.1.2.3"), 17)
    assert not scope.holds(SIX, 17)
