"""ICMP echo in IP packets: round trips, what a hop answers, and everything that is cut short or something else."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.icmp import (
    MAX_QUOTE_V4,
    MAX_QUOTE_V6,
    Echo,
    checksum,
    decode_echo,
    quoted_by_time_exceeded,
    time_exceeded,
)

V4 = Echo(
    source=ip_address("100.96.0.1"), destination=ip_address("10.0.0.7"), ttl=64, identifier=7, sequence=9, data=b"abc"
)
V6 = Echo(source=ip_address("fd00::1"), destination=ip_address("fd00::2"), ttl=3, identifier=1, sequence=2, data=b"x")
#: `ping -c1 -s3 -p 616263 10.0.0.7` as a capture shows it, but for the addresses.
RECORDED = bytes.fromhex("4500001f00000000400106 0d 64600001 0a000007".replace(" ", ""))


@pytest.mark.parametrize("echo", [V4, V6])
def test_an_echo_is_written_and_read(echo: Echo) -> None:
    assert decode_echo(echo.encode()) == echo
    reply = Echo(source=echo.destination, destination=echo.source, is_reply=True, identifier=1, sequence=1)
    assert decode_echo(reply.encode()) == reply


def test_checksums_hold() -> None:
    packet = V4.encode()
    assert checksum(packet[:20]) == 0
    assert checksum(packet[20:]) == 0
    packet = V6.encode()
    pseudo = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    assert checksum(pseudo + packet[40:]) == 0


def test_the_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert checksum(b"\x01") == 0xFEFF


def test_a_recorded_header_is_written_as_it_was() -> None:
    assert V4.encode()[:10] == RECORDED[:10]


@pytest.mark.parametrize(("echo", "most", "head"), [(V4, MAX_QUOTE_V4, 28), (V6, MAX_QUOTE_V6, 48)])
def test_a_hop_quotes_the_beginning_of_what_it_dropped(echo: Echo, most: int, head: int) -> None:
    hop = ip_address("10.9.9.9" if head == 28 else "fd00::9")
    original = Echo(
        source=echo.source, destination=echo.destination, ttl=1, identifier=1, sequence=1, data=bytes(2000)
    ).encode()
    told = time_exceeded(original, hop)
    assert quoted_by_time_exceeded(told) == (hop, original[:most])
    assert len(told) == head + most
    assert told[8 if head == 28 else 7] == 255
    assert quoted_by_time_exceeded(echo.encode()) is None


def test_a_hop_of_the_other_family_answers_nothing() -> None:
    with pytest.raises(ProtocolError, match="two families"):
        time_exceeded(V4.encode(), ip_address("fd00::9"))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "neither IPv4 nor IPv6"),
        (b"\x50" + bytes(40), "neither IPv4 nor IPv6"),
        (V4.encode()[:19], "IPv4 header is cut short"),
        (V4.encode()[:-1], "other lengths"),
        (b"\x44" + V4.encode()[1:], "other lengths"),
        (V4.encode()[:6] + b"\x20\x00" + V4.encode()[8:], "fragment"),
        (V4.encode()[:9] + b"\x11" + V4.encode()[10:], "protocol 17"),
        (V4.encode()[:20] + b"\x03" + V4.encode()[21:], "type 3"),
        (V4.encode()[:21] + b"\x01" + V4.encode()[22:], "code 1"),
        (V4.encode()[:2] + b"\x00\x18" + V4.encode()[4:24], "cut short"),
        (V6.encode()[:39], "IPv6 header is cut short"),
        (V6.encode()[:-1], "other lengths"),
        (V6.encode()[:6] + b"\x00" + V6.encode()[7:], "protocol 0"),
    ],
)
def test_what_is_no_echo_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        decode_echo(raw)


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=60).map(lambda rest: V4.encode()[:20] + rest)))
@settings(max_examples=500)
def test_nothing_but_an_error_comes_of_noise(raw: bytes) -> None:
    for read in (decode_echo, quoted_by_time_exceeded, lambda data: time_exceeded(data, ip_address("10.0.0.1"))):
        try:
            read(raw)
        except ProtocolError:
            pass
