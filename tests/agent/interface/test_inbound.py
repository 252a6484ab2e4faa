"""Packets of the gateway that may arrive at an interface."""

from __future__ import annotations

import pytest

from pyconnector.agent.interface.inbound import may_arrive
from pyconnector.transport.ip.packets import UDP, encode_packet
from pyconnector.transport.ip.tcp.segment import ACK, FIN, RST, SYN, Segment, encode_segment
from pyconnector.transport.ip.udp import encode_udp
from tests.transport.ip.script_client import CLIENT, CLIENT6, SERVICE, SERVICE6

OWN = frozenset((CLIENT, CLIENT6))
PAIRS = pytest.mark.parametrize(("source", "destination"), [(SERVICE, CLIENT), (SERVICE6, CLIENT6)])


def segment(flags: int) -> Segment:
    return Segment(source_port=80, destination_port=4_000, sequence=1, flags=flags, mss=1_000)


@PAIRS
def test_answers_arrive_and_new_connections_do_not(source: bytes, destination: bytes) -> None:
    for flags, arrives in ((SYN | ACK, True), (ACK, True), (RST, True), (SYN, False), (SYN | FIN, False)):
        assert may_arrive(encode_segment(segment(flags), source, destination), OWN) is arrives
    assert may_arrive(encode_udp(source, 53, destination, 5_000, b"answer"), OWN)


@PAIRS
def test_packets_for_other_addresses_do_not_arrive(source: bytes, destination: bytes) -> None:
    assert not may_arrive(encode_udp(destination, 53, source, 5_000, b"answer"), OWN)
    assert not may_arrive(encode_udp(source, 53, destination, 5_000, b"answer"), frozenset())


@PAIRS
def test_what_is_cut_short_or_hidden_does_not_arrive(source: bytes, destination: bytes) -> None:
    whole = encode_segment(segment(ACK), source, destination)
    header = 20 if len(source) == 4 else 40
    for size in range(header + 20):
        assert not may_arrive(whole[:size], OWN)
    assert not may_arrive(encode_packet(source, destination, 60, b"\x06\x00" + bytes(6)), OWN) or len(source) == 4
    fragment = bytearray(encode_packet(SERVICE, CLIENT, UDP, b"12345678"))
    fragment[6:8] = b"\x20\x00"
    assert not may_arrive(bytes(fragment), OWN)
