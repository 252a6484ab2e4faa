"""The Internet checksum (RFC 1071), and the one of TCP, UDP and ICMPv6 with its pseudo-header (RFC 8200 8.1). Pure."""

from __future__ import annotations


def checksum(data: bytes) -> int:
    """Return the checksum of `data`; 0 where `data` holds its own and is whole."""
    if len(data) % 2:
        data += b"\x00"
    # The ones' complement sum of 16-bit words is the number they make, modulo 65,535: 65,536 is 1 there.
    value = int.from_bytes(data, "big")
    rest = value % 0xFFFF
    return 0xFFFF - (rest or (0xFFFF if value else 0))


def transport_checksum(source: bytes, destination: bytes, protocol: int, data: bytes) -> int:
    """Return the checksum of a TCP, UDP or ICMPv6 message between two packed addresses."""
    if len(source) == 4:
        pseudo = source + destination + bytes((0, protocol)) + len(data).to_bytes(2, "big")
    else:
        pseudo = source + destination + len(data).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    return checksum(pseudo + data)
