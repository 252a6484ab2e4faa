"""ICMP echo in whole IP packets, as the private network carries it (wire.md 13; RFC 791, 792, 8200, 4443).

What is neither an echo request nor an echo reply is refused. Checksums of what comes are not looked at, for QUIC has
verified every byte; those of what goes out are right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, TypeAlias

from pyconnector.protocol.errors import ProtocolError

Address: TypeAlias = IPv4Address | IPv6Address

#: Hop limit of packets that are made here.
TTL: Final = 255
#: How much of the original packet a Time Exceeded quotes (wire.md 13).
MAX_QUOTE_V4, MAX_QUOTE_V6 = 548, 1232

_PROTOCOL_V4, _PROTOCOL_V6 = 1, 58
_REQUEST_V4, _REPLY_V4, _EXCEEDED_V4 = 8, 0, 11
_REQUEST_V6, _REPLY_V6, _EXCEEDED_V6 = 128, 129, 3
_V4 = Struct(">BBHHHBBH4s4s")
_V6 = Struct(">IHBB16s16s")
_ICMP = Struct(">BBHHH")
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """An echo request or reply, and the packet around it."""

    source: Address
    destination: Address
    ttl: int = TTL
    is_reply: bool = False
    identifier: int
    sequence: int
    data: bytes = b""

    def encode(self) -> bytes:
        """Return the IP packet."""
        v6 = self.source.version == 6
        kind = (
            (_REPLY_V6 if v6 else _REPLY_V4) if self.is_reply else (_REQUEST_V6 if v6 else _REQUEST_V4)
        )  # fmt: skip
        body = _ICMP.pack(kind, 0, 0, self.identifier, self.sequence) + self.data
        return _packet(self.source, self.destination, self.ttl, body)

    def answered_by(self, source: Address, data: bytes) -> Echo:
        """Return the reply to this request."""
        return replace(self, source=source, destination=self.source, ttl=TTL, is_reply=True, data=data)


def decode_echo(packet: bytes) -> Echo:
    """Read an IP packet that holds an ICMP echo.

    Raises:
        ProtocolError: it is cut short, a fragment, or holds something else.
    """
    source, destination, ttl, body = _opened(packet)
    if len(body) < _ICMP.size:
        raise ProtocolError("an ICMP message is cut short")
    kind, code, _, identifier, sequence = _ICMP.unpack_from(body)
    request, reply = (_REQUEST_V4, _REPLY_V4) if source.version == 4 else (_REQUEST_V6, _REPLY_V6)
    if code or kind not in {request, reply}:
        raise ProtocolError(f"ICMP type {kind} code {code} is no echo")
    return Echo(
        source=source, destination=destination, ttl=ttl, is_reply=kind == reply, identifier=identifier,
        sequence=sequence, data=body[_ICMP.size :],
    )  # fmt: skip


def time_exceeded(packet: bytes, source: Address) -> bytes:
    """Return what tells the sender of `packet` that its hop limit was used up; `source` is this hop's own address.

    Raises:
        ProtocolError: `packet` is no IP packet, or of the other family than `source`.
    """
    sender, _, _, _ = _opened(packet)
    if sender.version != source.version:
        raise ProtocolError("a packet and this hop's address are of two families")
    v4 = source.version == 4
    quoted = packet[: MAX_QUOTE_V4 if v4 else MAX_QUOTE_V6]
    body = _ICMP.pack(_EXCEEDED_V4 if v4 else _EXCEEDED_V6, 0, 0, 0, 0) + quoted
    return _packet(source, sender, TTL, body)


def quoted_by_time_exceeded(packet: bytes) -> tuple[Address, bytes] | None:
    """Return who says that a hop limit was used up, and the beginning of the packet it was of; None for others.

    Raises:
        ProtocolError: it is no ICMP packet.
    """
    source, _, _, body = _opened(packet)
    if len(body) < _ICMP.size or body[0] != (_EXCEEDED_V4 if source.version == 4 else _EXCEEDED_V6):
        return None
    return source, body[_ICMP.size :]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\x00"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _opened(packet: bytes) -> tuple[Address, Address, int, bytes]:
    """Return source, destination, hop limit and ICMP message."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _opened_v4(packet)
    if version == 6:
        return _opened_v6(packet)
    raise ProtocolError("a packet is neither IPv4 nor IPv6")


def _opened_v4(packet: bytes) -> tuple[Address, Address, int, bytes]:
    if len(packet) < _V4.size:
        raise ProtocolError("an IPv4 header is cut short")
    first, _, total, _, fragment, ttl, protocol, _, source, destination = _V4.unpack_from(packet)
    header = (first & 0x0F) * 4
    if header < _V4.size or not header <= total <= len(packet):
        raise ProtocolError("an IPv4 packet has other lengths than it says")
    if fragment & _MORE_FRAGMENTS_OR_OFFSET:
        raise ProtocolError("a packet is a fragment")
    if protocol != _PROTOCOL_V4:
        raise ProtocolError(f"a packet of IP protocol {protocol} is no ICMP")
    return IPv4Address(source), IPv4Address(destination), ttl, packet[header:total]


def _opened_v6(packet: bytes) -> tuple[Address, Address, int, bytes]:
    if len(packet) < _V6.size:
        raise ProtocolError("an IPv6 header is cut short")
    _, length, following, ttl, source, destination = _V6.unpack_from(packet)
    if _V6.size + length > len(packet):
        raise ProtocolError("an IPv6 packet has other lengths than it says")
    if following != _PROTOCOL_V6:
        raise ProtocolError(f"a packet of IP protocol {following} is no ICMP")
    return IPv6Address(source), IPv6Address(destination), ttl, packet[_V6.size : _V6.size + length]


def _packet(source: Address, destination: Address, ttl: int, body: bytes) -> bytes:
    """Return an IP packet around an ICMP message whose checksum is still 0."""
    if source.version == 4:
        body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
        fields = (0x45, 0, _V4.size + len(body), 0, 0, ttl, _PROTOCOL_V4)
        header = _V4.pack(*fields, 0, source.packed, destination.packed)
        return _V4.pack(*fields, checksum(header), source.packed, destination.packed) + body
    pseudo = source.packed + destination.packed + len(body).to_bytes(4, "big") + bytes((0, 0, 0, _PROTOCOL_V6))
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    return _V6.pack(6 << 28, len(body), _PROTOCOL_V6, ttl, source.packed, destination.packed) + body
