"""UDP datagrams in IP packets (RFC 768). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from pyconnector.transport.ip.checksum import transport_checksum
from pyconnector.transport.ip.packets import UDP, PacketError, encode_packet

if TYPE_CHECKING:
    from pyconnector.transport.ip.packets import IpPacket

HEADER: Final = Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """What a client sends to a destination."""

    packet: IpPacket
    source_port: int
    destination_port: int
    payload: bytes


def decode_udp(packet: IpPacket) -> UdpDatagram:
    """Read the datagram in a packet.

    Raises:
        PacketError: it is cut short, or its checksum is wrong.
    """
    data = packet.payload
    if len(data) < HEADER.size:
        raise PacketError("malformed", "a UDP header is cut short")
    source, destination, length, check = HEADER.unpack_from(data)
    if not HEADER.size <= length <= len(data):
        raise PacketError("malformed", "a UDP datagram has another length than it says")
    if not check and packet.version == 6:
        raise PacketError("checksum", "a UDP datagram over IPv6 has no checksum")
    if check and transport_checksum(packet.source, packet.destination, UDP, data[:length]):
        raise PacketError("checksum", "the checksum of a UDP datagram is wrong")
    return UdpDatagram(packet, source, destination, data[HEADER.size : length])


def encode_udp(source: bytes, source_port: int, destination: bytes, destination_port: int, payload: bytes) -> bytes:
    """Return a packet with a datagram.

    Raises:
        ValueError: the payload is longer than UDP can be.
    """
    length = HEADER.size + len(payload)
    if length > 65_535 - 20:
        raise ValueError(f"a payload of {len(payload)} bytes is longer than UDP can be")
    head = HEADER.pack(source_port, destination_port, length, 0)
    check = transport_checksum(source, destination, UDP, head + payload) or 0xFFFF
    return encode_packet(
        source, destination, UDP, HEADER.pack(source_port, destination_port, length, check) + payload
    )  # fmt: skip
