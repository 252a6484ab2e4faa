"""IPv4 and IPv6 packets as values (RFC 791, RFC 8200). Pure.

Addresses are packed, 4 or 16 bytes. Fragments are refused: whoever sends through a tunnel knows its MTU.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from pyconnector.transport.ip.checksum import checksum

#: IP protocol numbers.
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
#: Hop limit of packets that are made here.
HOP_LIMIT: Final = 64
#: Extension headers of one IPv6 packet that are passed over.
MAX_EXTENSIONS: Final = 8

V4: Final = Struct(">BBHHHBBH4s4s")
V6: Final = Struct(">IHBB16s16s")
_DONT_FRAGMENT = 0x4000
_MORE_OR_OFFSET = 0x3FFF
_LOOSE_ROUTE, _STRICT_ROUTE = 131, 137
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60


class PacketError(ValueError):
    """A packet that is not served. The text is one phrase; `reason` is what it is counted under."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class IpPacket:
    """A whole packet."""

    source: bytes
    destination: bytes
    protocol: int
    hop_limit: int
    payload: bytes
    raw: bytes
    "As it came, without what was behind its end."

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.source) == 4 else 6


def decode_packet(data: bytes) -> IpPacket:
    """Read a packet.

    Raises:
        PacketError: `malformed` (cut short, wrong lengths, header checksum), `fragment`, or `source_route`.
    """
    version = data[0] >> 4 if data else 0
    if version == 4:
        return _decode_v4(data)
    if version == 6:
        return _decode_v6(data)
    raise PacketError("malformed", "a packet is neither IPv4 nor IPv6")


def encode_packet(source: bytes, destination: bytes, protocol: int, payload: bytes, *, hop_limit: int = 64) -> bytes:
    """Return a packet between two packed addresses of one family. It may not be fragmented.

    Raises:
        ValueError: the payload is longer than a packet can be.
    """
    if len(payload) > 65_535 - (V4.size if len(source) == 4 else 0):
        raise ValueError(f"a payload of {len(payload)} bytes is longer than a packet can be")
    if len(source) == 16:
        return V6.pack(6 << 28, len(payload), protocol, hop_limit, source, destination) + payload
    fields = (0x45, 0, V4.size + len(payload), 0, _DONT_FRAGMENT, hop_limit, protocol)
    header = V4.pack(*fields, checksum(V4.pack(*fields, 0, source, destination)), source, destination)
    return header + payload


def _decode_v4(data: bytes) -> IpPacket:
    if len(data) < V4.size:
        raise PacketError("malformed", "an IPv4 header is cut short")
    first, _, total, _, fragment, hop_limit, protocol, _, source, destination = V4.unpack_from(data)
    header = (first & 0x0F) * 4
    if header < V4.size or not header <= total <= len(data):
        raise PacketError("malformed", "an IPv4 packet has other lengths than it says")
    if checksum(data[:header]):
        raise PacketError("malformed", "the checksum of an IPv4 header is wrong")
    if fragment & _MORE_OR_OFFSET:
        raise PacketError("fragment", "a packet is a fragment")
    if header > V4.size:
        _check_options(data[V4.size : header])
    return IpPacket(source, destination, protocol, hop_limit, data[header:total], data[:total])


def _check_options(options: bytes) -> None:
    at = 0
    while at < len(options) and options[at]:
        kind = options[at]
        if kind in {_LOOSE_ROUTE, _STRICT_ROUTE}:
            raise PacketError("source_route", "a packet names its own route")
        size = 1 if kind == 1 else options[at + 1] if at + 1 < len(options) else 0
        if (kind != 1 and size < 2) or at + size > len(options):
            raise PacketError("malformed", "an option of an IPv4 header has no length that fits")
        at += size


def _decode_v6(data: bytes) -> IpPacket:
    if len(data) < V6.size:
        raise PacketError("malformed", "an IPv6 header is cut short")
    _, length, following, hop_limit, source, destination = V6.unpack_from(data)
    end, at = V6.size + length, V6.size
    if end > len(data):
        raise PacketError("malformed", "an IPv6 packet has other lengths than it says")
    for _ in range(MAX_EXTENSIONS):
        if following == _FRAGMENT:
            raise PacketError("fragment", "a packet is a fragment")
        if following == _ROUTING:
            raise PacketError("source_route", "a packet names its own route")
        if following not in {_HOP_BY_HOP, _DESTINATION}:
            return IpPacket(source, destination, following, hop_limit, data[at:end], data[:end])
        if at + 8 > end or at + 8 * (data[at + 1] + 1) > end:
            raise PacketError("malformed", "an extension header of an IPv6 packet is cut short")
        following, at = data[at], at + 8 * (data[at + 1] + 1)
    raise PacketError("malformed", "an IPv6 packet has too many extension headers")
