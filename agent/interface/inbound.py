"""Which packets of the gateway may arrive at an interface. Pure.

The edge opens no connections towards a client, so whoever is in its place must not either: nothing that listens on this
machine is opened to it.
"""

from __future__ import annotations

from typing import Final

_TCP: Final = 6
_SYN, _ACK = 2, 16


def may_arrive(packet: bytes, addresses: frozenset[bytes]) -> bool:
    """Return whether a packet is for one of the interface's packed `addresses`, and does not begin a TCP connection.
    One that is too short, or hides its protocol behind IPv6 extension headers, may not."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        destination, protocol, header = packet[16:20], packet[9], (packet[0] & 15) * 4
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return False  # a fragment
    elif version == 6 and len(packet) >= 40:
        destination, protocol, header = packet[24:40], packet[6], 40
        if protocol in {0, 43, 44, 60}:
            return False
    else:
        return False
    if destination not in addresses:
        return False
    if protocol != _TCP:
        return True
    return len(packet) >= header + 20 and packet[header + 13] & (_SYN | _ACK) != _SYN
