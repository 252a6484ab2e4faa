"""ICMP of both families: echoes, and the errors that a router sends (RFC 792, 1812 4.3, 4443). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final

from pyconnector.transport.ip.checksum import checksum, transport_checksum
from pyconnector.transport.ip.packets import ICMP, ICMPV6, PacketError, encode_packet

if TYPE_CHECKING:
    from pyconnector.transport.ip.packets import IpPacket

#: Longest error packet of each family: what every path carries (RFC 1812 4.3.2.3, RFC 4443 2.4 c).
MAX_ERROR_V4, MAX_ERROR_V6 = 576, 1_280

HEADER: Final = Struct(">BBHHH")
_REQUEST_V4, _REPLY_V4, _REQUEST_V6, _REPLY_V6 = 8, 0, 128, 129
_ERRORS_V4 = frozenset((3, 4, 5, 11, 12))


class Error(Enum):
    """Why a packet goes no further: type and code over IPv4, and over IPv6."""

    NO_ROUTE = ((3, 0), (1, 0))
    PROHIBITED = ((3, 13), (1, 1))
    HOST = ((3, 1), (1, 3))
    PORT = ((3, 3), (1, 4))
    PROTOCOL = ((3, 2), (4, 1))
    TOO_BIG = ((3, 4), (2, 0))
    TIME_EXCEEDED = ((11, 0), (3, 0))


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """A ping of a client."""

    packet: IpPacket
    identifier: int
    sequence: int
    data: bytes


def decode_echo(packet: IpPacket) -> EchoRequest:
    """Read the echo request in a packet.

    Raises:
        PacketError: it is cut short, has a wrong checksum, or is another message (`icmp`).
    """
    data = packet.payload
    if len(data) < HEADER.size:
        raise PacketError("malformed", "an ICMP message is cut short")
    v6 = packet.version == 6
    if transport_checksum(packet.source, packet.destination, ICMPV6, data) if v6 else checksum(data):
        raise PacketError("checksum", "the checksum of an ICMP message is wrong")
    kind, code, _, identifier, sequence = HEADER.unpack_from(data)
    if code or kind != (_REQUEST_V6 if v6 else _REQUEST_V4):
        raise PacketError("icmp", f"ICMP type {kind} code {code} is no echo request")
    return EchoRequest(packet, identifier, sequence, data[HEADER.size :])


def encode_reply(request: EchoRequest, data: bytes) -> bytes:
    """Return the packet that answers a request, with the data that came back."""
    v6 = request.packet.version == 6
    head = HEADER.pack(_REPLY_V6 if v6 else _REPLY_V4, 0, 0, request.identifier, request.sequence)
    return _encode(request.packet.destination, request.packet.source, head + data)


def encode_error(error: Error, packet: IpPacket, source: bytes, *, mtu: int = 0) -> bytes:
    """Return what tells the sender of `packet` why it went no further; `source` is the packed address of who says so.
    `mtu` goes with `TOO_BIG`, in bytes."""
    v6 = packet.version == 6
    kind, code = error.value[1 if v6 else 0]
    # The last field of both families' "too big": 32 bits over IPv6, the lower 16 over IPv4 (RFC 1191, RFC 4443 3.2).
    head = HEADER.pack(kind, code, 0, mtu >> 16 if v6 else 0, mtu & 0xFFFF)
    room = (MAX_ERROR_V6 - 48) if v6 else (MAX_ERROR_V4 - 28)
    return _encode(source, packet.source, head + packet.raw[:room])


def may_be_told(packet: IpPacket) -> bool:
    """Return whether an error may be sent about `packet` (RFC 1122 3.2.2, RFC 4443 2.4 e): not about other errors, nor
    about what everybody got, or nobody sent."""
    if is_multicast(packet.destination) or is_multicast(packet.source) or not any(packet.source):
        return False
    kind = packet.payload[0] if packet.payload else 0
    if packet.protocol == ICMPV6 and packet.version == 6:
        return kind >= 128
    return not (packet.protocol == ICMP and packet.version == 4 and kind in _ERRORS_V4)


def is_multicast(address: bytes) -> bool:
    """Return whether a packed address is of a group, or of everybody."""
    if len(address) == 4:
        return 224 <= address[0] < 240 or address == b"\xff\xff\xff\xff"
    return address[0] == 0xFF


def _encode(source: bytes, destination: bytes, message: bytes) -> bytes:
    v6 = len(source) == 16
    check = transport_checksum(source, destination, ICMPV6, message) if v6 else checksum(message)
    message = message[:2] + check.to_bytes(2, "big") + message[4:]
    return encode_packet(source, destination, ICMPV6 if v6 else ICMP, message)
