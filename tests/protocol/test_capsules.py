"""Capsules: integers of every length, datagrams in any pieces, and everything that is none."""

from __future__ import annotations

import pytest
from aioquic.buffer import encode_uint_var
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.capsules import (
    MAX_DATAGRAM,
    MAX_INTEGER,
    MAX_UDP,
    CapsuleReader,
    encode_integer,
    encode_udp_capsule,
    read_integer,
    udp_payload,
)
from pyconnector.protocol.errors import ProtocolError


def read(data: bytes, size: int = 1 << 20) -> list[bytes]:
    """All that a reader has of `data`, fed in pieces."""
    reader, found = CapsuleReader(), []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while (datagram := reader.next()) is not None:
            found.append(datagram)
    return [datagram for datagram in found if datagram]


@given(st.integers(0, MAX_INTEGER))
def test_integers_are_those_of_quic(value: int) -> None:
    wire = encode_uint_var(value)
    assert encode_integer(value) == wire
    assert read_integer(wire, 0) == (value, len(wire))


@pytest.mark.parametrize("value", [-1, MAX_INTEGER + 1])
def test_what_is_no_such_integer_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="no integer of this form"):
        encode_integer(value)


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 50))
def test_datagrams_come_out_as_they_went_in(payloads: list[bytes], size: int) -> None:
    other = encode_integer(0x29) + encode_integer(300) + bytes(300)
    wire = b"".join(other + encode_udp_capsule(payload) for payload in payloads)
    assert [udp_payload(datagram) for datagram in read(wire, size)] == payloads


def test_other_capsules_are_passed_over_without_being_kept() -> None:
    reader = CapsuleReader()
    reader.feed(encode_integer(0x1234) + encode_integer(MAX_INTEGER) + bytes(1000))
    for _ in range(100):
        while reader.next() is not None:
            pass
        reader.feed(bytes(65_536))
    assert len(reader._buffer) <= 65_536
    assert not reader.is_whole


def test_other_contexts_are_not_for_us() -> None:
    assert udp_payload(b"\x02payload") is None
    assert udp_payload(b"\x00") == b""


@pytest.mark.parametrize("data", [b"", b"\x40", b"\xc0\x00\x00"])
def test_a_datagram_needs_a_whole_context(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        udp_payload(data)


def test_datagrams_are_no_longer_than_udp() -> None:
    whole = encode_udp_capsule(bytes(MAX_UDP))
    assert udp_payload(read(whole, 5000)[0]) == bytes(MAX_UDP)
    with pytest.raises(ProtocolError, match="longer"):
        udp_payload(bytes(MAX_UDP + 2))
    with pytest.raises(ProtocolError, match="longer"):
        read(encode_integer(0) + encode_integer(MAX_DATAGRAM + 1))
    with pytest.raises(ProtocolError, match="no context"):
        read(encode_integer(0) + encode_integer(0))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(1, 7))
def test_whatever_comes_is_read_or_refused_and_alike_in_any_pieces(data: bytes, size: int) -> None:
    def outcome(size: int) -> tuple[list[bytes], bool]:
        reader, found = CapsuleReader(), []
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            try:
                while (datagram := reader.next()) is not None:
                    found.append(datagram)
            except ProtocolError:
                return [each for each in found if each], False
        return [each for each in found if each], True

    assert outcome(size) == outcome(len(data) + 1)
