"""Packets of the stack: what is read, what is refused and under which reason, and that nothing else can happen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.ip import stack as stacks
from pyconnector.transport.ip.checksum import checksum, transport_checksum
from pyconnector.transport.ip.icmp import EchoRequest, encode_error
from pyconnector.transport.ip.packets import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    PacketError,
    decode_packet,
    encode_packet,
)  # fmt: skip
from pyconnector.transport.ip.stack import TcpAsked
from pyconnector.transport.ip.tcp.segment import Segment, decode_segment, encode_segment, unwrap
from pyconnector.transport.ip.udp import UdpDatagram, encode_udp
from tests.test_architecture import SANS_IO, imported_modules
from tests.transport.ip.script_client import (
    ACK,
    CLIENT,
    CLIENT6,
    ROUTER,
    ROUTER6,
    SERVICE,
    SERVICE6,
    Error,
    ScriptClient,
)  # fmt: skip

ADDRESSES = st.sampled_from([(CLIENT, SERVICE), (CLIENT6, SERVICE6)])
PORTS, NUMBERS = st.integers(0, 65_535), st.integers(0, 0xFFFF_FFFF)
SEGMENTS = st.builds(
    Segment, source_port=PORTS, destination_port=PORTS, sequence=NUMBERS, acknowledgement=NUMBERS,
    flags=st.integers(0, 255), window=PORTS, mss=st.none() | PORTS, scale=st.none() | st.integers(0, 14),
    payload=st.binary(max_size=50),
)  # fmt: skip


def ping(source: bytes, destination: bytes, data: bytes = b"data", *, hop_limit: int = 64) -> bytes:
    v6 = len(source) == 16
    message = bytes((128 if v6 else 8, 0, 0, 0, 0, 7, 0, 9)) + data
    check = transport_checksum(source, destination, ICMPV6, message) if v6 else checksum(message)
    message = message[:2] + check.to_bytes(2, "big") + message[4:]
    return encode_packet(source, destination, ICMPV6 if v6 else ICMP, message, hop_limit=hop_limit)


@given(data=st.binary(max_size=200))
def test_checksum_is_the_ones_complement_sum(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == ~total & 0xFFFF


@given(addresses=ADDRESSES, segment=SEGMENTS)
def test_segments_are_read_as_they_were_written(addresses: tuple[bytes, bytes], segment: Segment) -> None:
    packet = decode_packet(encode_segment(segment, *addresses))
    assert (packet.source, packet.destination, packet.protocol) == (*addresses, TCP)
    assert decode_segment(packet) == segment


@given(addresses=ADDRESSES, segment=SEGMENTS, bit=st.integers(0, 8 * 30 * 3))
def test_no_changed_bit_passes(addresses: tuple[bytes, bytes], segment: Segment, bit: int) -> None:
    data = bytearray(encode_segment(segment, *addresses))
    header = 20 if len(addresses[0]) == 4 else 40
    at = header + bit // 8 % (len(data) - header)
    data[at] ^= 1 << bit % 8
    with pytest.raises(PacketError):
        decode_segment(decode_packet(bytes(data)))


@given(value=NUMBERS, near=st.integers(0, 1 << 40))
def test_sequence_numbers_are_the_nearest_whole_numbers(value: int, near: int) -> None:
    whole = unwrap(value, near)
    assert whole & 0xFFFF_FFFF == value
    assert abs(whole - near) <= 1 << 31


@given(first=st.sampled_from([b"", b"\x45", b"\x46", b"\x60"]), rest=st.binary(max_size=120))
def test_any_bytes_are_answered_or_dropped(first: bytes, rest: bytes) -> None:
    client = ScriptClient()
    asked = client.packet(first + rest)
    assert asked is None or client.stack.dropped.total() == 0


@given(
    addresses=ADDRESSES, segments=st.lists(SEGMENTS, max_size=12), near=st.lists(st.integers(-3, 3), max_size=12),
    steps=st.lists(st.floats(0, 30), max_size=12),
)  # fmt: skip
def test_any_segments_leave_nothing_behind(
    addresses: tuple[bytes, bytes], segments: list[Segment], near: list[int], steps: list[float]
) -> None:
    client = ScriptClient()
    connection = client.connect()
    for number, segment in enumerate(segments):
        if number < len(near):  # most of the others are far from the window
            at = (client.next + near[number]) & 0xFFFF_FFFF
            client.segment(segment.flags | ACK, segment.payload, sequence=at, window=segment.window)
        asked = client.packet(encode_segment(segment, *addresses))
        if isinstance(asked, TcpAsked):
            asked.connection.accept(client.now)
        if connection.room:
            connection.write(b"data", client.now)
        client.now += steps[number] if number < len(steps) else 0
        client.stack.on_timer(client.now)
        connection.read(10)
    client.stack.close()
    connection.forget()
    assert (client.stack._receive_pool.used, client.stack._send_pool.used) == (0, 0)


def fragment4(source: bytes, destination: bytes, word: int) -> bytes:
    data = bytearray(encode_packet(source, destination, UDP, b"12345678"))
    data[6:8] = word.to_bytes(2, "big")
    data[10:12] = b"\0\0"
    data[10:12] = checksum(bytes(data[:20])).to_bytes(2, "big")
    return bytes(data)


def with_options(options: bytes) -> bytes:
    data = bytearray(encode_packet(CLIENT, SERVICE, UDP, options + encode_udp(CLIENT, 5, SERVICE, 6, b"x")[20:]))
    data[0] = 0x45 + len(options) // 4
    data[10:12] = b"\0\0"
    data[10:12] = checksum(bytes(data[: 20 + len(options)])).to_bytes(2, "big")
    return bytes(data)


def extended(*kinds: int) -> bytes:
    """An IPv6 packet with these extension headers before a UDP datagram."""
    payload, following = encode_udp(CLIENT6, 5, SERVICE6, 6, b"x")[40:], UDP
    for kind in reversed(kinds):
        payload, following = bytes((following, 0, 0, 0, 0, 0, 0, 0)) + payload, kind
    return encode_packet(CLIENT6, SERVICE6, following, payload)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"\x75" + bytes(40), "malformed"),
        (fragment4(CLIENT, SERVICE, 0x2000), "fragment"),
        (fragment4(CLIENT, SERVICE, 5), "fragment"),
        (extended(44), "fragment"),
        (extended(0, 60, 43), "source_route"),
        (with_options(bytes((131, 3, 4, 0))), "source_route"),
        (with_options(bytes((7, 9, 4, 0))), "malformed"),
        (extended(*[60] * 8), "malformed"),
        (encode_packet(CLIENT, SERVICE, TCP, b"short"), "malformed"),
        (encode_packet(CLIENT, SERVICE, UDP, b"short"), "malformed"),
        (encode_packet(CLIENT, SERVICE, ICMP, b"short"), "malformed"),
        (encode_packet(CLIENT6, SERVICE6, UDP, b"\0\1\0\2\0\x08\0\0"), "checksum"),
        (encode_packet(CLIENT, SERVICE, ICMP, bytes((8, 0, 1, 1, 0, 0, 0, 0))), "checksum"),
        (encode_packet(CLIENT, SERVICE, ICMP, bytes((13, 0, 0xF2, 0xFF, 0, 0, 0, 0))), "icmp"),
        (encode_packet(CLIENT, SERVICE, 47, b"gre"), "protocol"),
        (encode_udp(SERVICE, 5, CLIENT, 6, b"x"), "source"),
        (encode_udp(CLIENT, 5, bytes((224, 0, 0, 251)), 5353, b"x"), "multicast"),
        (encode_udp(CLIENT6, 5, b"\xff\x02" + bytes(13) + b"\xfb", 5353, b"x"), "multicast"),
        (ping(CLIENT, SERVICE, hop_limit=1), "hop_limit"),
        (encode_segment(Segment(source_port=0, destination_port=8, sequence=1, flags=2), CLIENT, SERVICE), "malformed"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_counted_under_its_reason(data: bytes, reason: str) -> None:
    client = ScriptClient()
    assert client.packet(data) is None
    assert client.stack.dropped == {reason: 1}


def test_known_extension_headers_and_options_are_passed_over() -> None:
    client = ScriptClient()
    for data in (extended(0, 60, 60), with_options(bytes((1, 1, 1, 0)))):
        asked = client.packet(data)
        assert isinstance(asked, UdpDatagram)
        assert (asked.source_port, asked.destination_port, asked.payload) == (5, 6, b"x")


@pytest.mark.parametrize("addresses", [(CLIENT, SERVICE), (CLIENT6, SERVICE6)])
def test_pings_are_answered_with_what_they_brought(addresses: tuple[bytes, bytes]) -> None:
    client = ScriptClient()
    asked = client.packet(ping(*addresses))
    assert isinstance(asked, EchoRequest)
    client.stack.send_reply(asked, asked.data)
    (packet,) = client.packets()
    assert (packet.source, packet.destination) == addresses[::-1]
    assert packet.payload[0] == (129 if len(addresses[0]) == 16 else 0)
    assert packet.payload[4:] == b"\0\7\0\x09data"
    client.stack.send_reply(asked, bytes(1300))
    assert client.packets() == []


@pytest.mark.parametrize("addresses", [(CLIENT, SERVICE), (CLIENT6, SERVICE6)])
def test_errors_come_from_the_router_and_quote_what_they_are_about(addresses: tuple[bytes, bytes]) -> None:
    client = ScriptClient()
    v6 = len(addresses[0]) == 16
    sent = encode_udp(addresses[0], 5, addresses[1], 6, b"d" * 2_000)
    asked = client.packet(sent)
    assert isinstance(asked, UdpDatagram)
    client.stack.tell(Error.TOO_BIG, asked.packet, client.now, mtu=1_308)
    (packet,) = client.packets()
    assert (packet.source, packet.destination) == (ROUTER6 if v6 else ROUTER, addresses[0])
    assert len(packet.raw) == (1_280 if v6 else 576)
    assert packet.payload[:2] == (b"\2\0" if v6 else b"\3\4")
    assert int.from_bytes(packet.payload[4:8], "big") == 1_308
    assert sent.startswith(packet.payload[8:])


def test_a_used_up_hop_limit_is_told_but_not_without_end() -> None:
    client = ScriptClient()
    for _ in range(stacks.ERRORS + 10):
        client.packet(ping(CLIENT, SERVICE, hop_limit=1))
    packets = client.packets()
    assert len(packets) == stacks.ERRORS
    assert {packet.payload[0] for packet in packets} == {11}


@pytest.mark.parametrize("addresses", [(CLIENT, SERVICE), (CLIENT6, SERVICE6)])
def test_no_error_is_told_about_an_error(addresses: tuple[bytes, bytes]) -> None:
    client = ScriptClient()
    about = decode_packet(ping(addresses[1], addresses[0]))
    error = decode_packet(encode_error(Error.PORT, about, addresses[0]))
    client.stack.tell(Error.NO_ROUTE, error, client.now)
    assert client.packets() == []


def test_datagrams_beyond_the_tunnel_s_packets_are_dropped() -> None:
    client = ScriptClient()
    assert client.stack.send_udp((SERVICE, 53), (CLIENT, 5), bytes(1_252))
    assert not client.stack.send_udp((SERVICE, 53), (CLIENT, 5), bytes(1_253))
    assert not client.stack.send_udp((SERVICE6, 53), (CLIENT6, 5), bytes(1_233))
    assert client.stack.dropped == {"too_big": 2}
    assert [len(packet.raw) for packet in client.packets()] == [1_280]


def test_what_waits_to_be_sent_is_bounded() -> None:
    client = ScriptClient()
    for _ in range(stacks.MAX_OUTGOING + 5):
        client.stack.send_udp((SERVICE, 53), (CLIENT, 5), b"x")
    assert len(client.packets()) == stacks.MAX_OUTGOING
    assert client.stack.dropped == {"outgoing": 5}


def test_the_stack_knows_no_clock_no_chance_and_no_socket() -> None:
    found: set[str] = set()
    for path in Path(stacks.__file__).parent.rglob("*.py"):
        found |= imported_modules(path.read_text(encoding="utf-8"), "transport/ip/x.py")
    assert {name.partition(".")[0] for name in found}.isdisjoint(SANS_IO | {"os", "secrets"})
