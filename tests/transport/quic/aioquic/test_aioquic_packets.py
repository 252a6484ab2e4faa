"""Packets of the short way are those that aioquic itself would build and accept."""

from __future__ import annotations

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicPacketType, QuicProtocolVersion, decode_packet_number
from aioquic.quic.packet_builder import QuicPacketBuilderStop
from aioquic.tls import CipherSuite
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.quic.aioquic_engine.internals import BadPacket, NewKeyPhase, _full_number, open_packet
from pyconnector.transport.quic.aioquic_engine.packets import OneRttBuilder

CID = bytes(range(8))
SUITES = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256]


def _pair(suite: CipherSuite = CipherSuite.AES_128_GCM_SHA256) -> tuple[CryptoPair, CryptoPair]:
    size = 48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32
    first, second = CryptoPair(), CryptoPair()
    for direction, secret in (("send", b"a" * size), ("recv", b"b" * size)):
        getattr(first, direction).setup(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)
    for direction, secret in (("recv", b"a" * size), ("send", b"b" * size)):
        getattr(second, direction).setup(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)
    return first, second


def _build(crypto: CryptoPair, payload: bytes, number: int = 7, cid: bytes = CID) -> bytes:
    builder = OneRttBuilder(1232)
    builder.begin(packet_number=number, peer_cid=cid, flight=10_000, crypto=crypto)
    builder.start_packet(QuicPacketType.ONE_RTT, crypto)
    builder.start_frame(QuicFrameType.PING)
    builder._buffer.push_bytes(payload)
    datagrams, packets = builder.flush()
    assert [packet.sent_bytes for packet in packets] == [len(data) for data in datagrams]
    return datagrams[0]


def test_a_builder_follows_a_key_update() -> None:
    ours, theirs = _pair()
    builder = OneRttBuilder(1232)
    for number in range(4):
        builder.begin(packet_number=number, peer_cid=CID, flight=10_000, crypto=ours)
        builder.start_packet(QuicPacketType.ONE_RTT, ours)
        builder.start_frame(QuicFrameType.PING)
        (datagram,), _ = builder.flush()
        _, payload, _ = theirs.decrypt_packet(datagram, 1 + len(CID), number)
        assert payload.rstrip(b"\0") == b"\x01"
        assert theirs.key_phase == (number + 1) // 2 % 2
        if number % 2 == 0:
            ours.update_key()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", [0, 1, 3, 1000])
@pytest.mark.parametrize("cid", [CID, b""])
def test_aioquic_opens_what_is_built_here_and_so_do_we(suite: CipherSuite, size: int, cid: bytes) -> None:
    ours, theirs = _pair(suite)
    datagram = _build(ours, b"x" * size, 70_000, cid)
    header, payload, number = theirs.decrypt_packet(datagram, 1 + len(cid), 70_000)
    assert payload.rstrip(b"\0") == b"\x01" + b"x" * size
    assert number == 70_000
    assert header[1 : 1 + len(cid)] == cid
    assert open_packet(theirs.recv, datagram, len(cid), 70_000) == (70_000, payload, True)


def test_reserved_bits_are_reported() -> None:
    ours, theirs = _pair()
    header = bytes((0x41 | 0x18,)) + CID + b"\x00\x07"
    datagram = ours.encrypt_packet(header, b"\x01" + bytes(20), 7)
    assert open_packet(theirs.recv, datagram, len(CID), 7)[2] is False


def test_every_damaged_bit_makes_a_bad_packet() -> None:
    ours, theirs = _pair()
    datagram = _build(ours, b"payload")
    for bit in range(8 * (1 + len(CID)), 8 * len(datagram)):
        damaged = bytearray(datagram)
        damaged[bit // 8] ^= 1 << bit % 8
        # A damaged bit may look like new keys; aioquic then finds that they do not open it.
        with pytest.raises((BadPacket, NewKeyPhase)):
            open_packet(theirs.recv, bytes(damaged), len(CID), 7)
    for size in range(len(datagram)):
        with pytest.raises((BadPacket, NewKeyPhase)):
            open_packet(theirs.recv, datagram[:size], len(CID), 7)


def test_another_key_phase_is_left_to_aioquic() -> None:
    ours, theirs = _pair()
    ours.update_key()
    with pytest.raises(NewKeyPhase):
        open_packet(theirs.recv, _build(ours, b"payload"), len(CID), 7)


def test_frames_stop_at_the_packets_and_the_windows_edge() -> None:
    ours, _ = _pair()
    builder = OneRttBuilder(1232)
    builder.begin(packet_number=0, peer_cid=CID, flight=100, crypto=ours)
    builder.start_packet(QuicPacketType.ONE_RTT, ours)
    overhead = 1 + len(CID) + 2 + 16
    assert builder.remaining_flight_space == 100 - overhead
    assert builder.remaining_buffer_space == 1232 - overhead
    with pytest.raises(QuicPacketBuilderStop):
        builder.start_frame(QuicFrameType.PING, capacity=101 - overhead)
    builder.start_frame(QuicFrameType.ACK, capacity=1232 - overhead)
    with pytest.raises(QuicPacketBuilderStop):
        builder.start_frame(QuicFrameType.ACK, capacity=1232 - overhead)


def test_empty_packets_are_not_sent_and_take_no_number() -> None:
    ours, _ = _pair()
    builder = OneRttBuilder(1232)
    builder.begin(packet_number=5, peer_cid=CID, flight=10_000, crypto=ours)
    builder.start_packet(QuicPacketType.ONE_RTT, ours)
    assert builder.flush() == ([], [])
    assert builder.packet_number == 5


def test_resizing_keeps_the_packet_under_construction() -> None:
    ours, theirs = _pair()
    builder = OneRttBuilder(1232)
    builder.begin(packet_number=5, peer_cid=CID, flight=10_000, crypto=ours)
    builder.start_packet(QuicPacketType.ONE_RTT, ours)
    builder.start_frame(QuicFrameType.PING)
    builder.resize(1452)
    builder.start_packet(QuicPacketType.ONE_RTT, ours)
    builder.write_probe(lambda *_: None, ())
    datagrams, packets = builder.flush()
    assert [len(datagram) for datagram in datagrams][1:] == [1452]
    assert [packet.in_flight for packet in packets][1:] == [False]
    assert [open_packet(theirs.recv, data, len(CID), 5)[0] for data in datagrams] == [5, 6]


@given(
    expected=st.integers(min_value=0, max_value=(1 << 62) - 1),
    truncated=st.integers(min_value=0, max_value=(1 << 32) - 1),
    bits=st.sampled_from([8, 16, 24, 32]),
)
def test_packet_numbers_are_completed_as_aioquic_does(expected: int, truncated: int, bits: int) -> None:
    truncated %= 1 << bits
    assert _full_number(truncated, bits, expected) == decode_packet_number(truncated, bits, expected)
