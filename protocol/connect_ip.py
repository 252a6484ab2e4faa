"""CONNECT-IP (RFC 9484): the path that asks for it, and its capsules: addresses and routes. Pure.

IP packets themselves are HTTP datagrams of context id 0 (RFC 9484 6), as the payloads of CONNECT-UDP are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from pyconnector.protocol.capsules import DATAGRAM, MAX_DATAGRAM, encode_integer, read_integer
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.proxy_request import BadProxyRequest

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The token of `:protocol` (RFC 9484 4.5).
CONNECT_IP: Final = "connect-ip"
#: Types of capsules (RFC 9484 4.7).
ADDRESS_ASSIGN, ADDRESS_REQUEST, ROUTE_ADVERTISEMENT = 1, 2, 3
#: Longest value of one of them: some 400 ranges of IPv6 addresses.
MAX_VALUE: Final = 16 * 1024
#: The mesh's own end: where private names are asked for (the first of the addresses in mesh.md 1).
RESOLVER: Final = ipaddress.IPv4Address("100.96.0.1")
_PATH = re.compile(rb"/\.well-known/masque/ip/([0-9A-Za-z._~%*:-]+)/([0-9*]{1,3}|%2[Aa])/")
_SIZES: Final = {4: 4, 6: 16}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a client asked for: all, or less."""

    network: Network | None = None
    "Where packets may go; None for anywhere."
    protocol: int | None = None
    "The IP protocol that they may be of; None for any."

    def holds(self, address: Address, protocol: int) -> bool:
        """Return whether a packet is within it. ICMP belongs to every protocol (RFC 9484 4.6)."""
        if self.network is not None and (address.version != self.network.version or address not in self.network):
            return False
        return self.protocol is None or protocol in {self.protocol, 1, 58}


@dataclass(frozen=True, slots=True)
class PrefixAddress:
    """An address that is asked for or assigned; 0.0.0.0/32 or ::/128 as an answer is a no."""

    request_id: int
    "0 where nobody asked."
    address: Address
    prefix: int


@dataclass(frozen=True, slots=True)
class IpRange:
    """Addresses that packets may be sent to."""

    first: Address
    last: Address
    protocol: int = 0
    "IP protocol; 0 for any."


def read_path(path: bytes) -> Scope:
    """Return what the path of a request asks for (RFC 9484 3).

    Raises:
        BadProxyRequest: it is not of the template, or its target is a name.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise BadProxyRequest("IP is asked for as /.well-known/masque/ip/TARGET/PROTOCOL/, perhaps with * for both")
    target, protocol = (unquote_to_bytes(part).decode("ascii", "replace") for part in found.groups())
    if protocol != "*" and not (protocol.isdigit() and int(protocol) < 256):
        raise BadProxyRequest("the protocol in the path is * or a number below 256")
    number = None if protocol == "*" else int(protocol)
    if target == "*":
        return Scope(None, number)
    try:
        return Scope(ipaddress.ip_network(target), number)
    except ValueError:
        raise BadProxyRequest("the target in the path is * or a network: names are not served") from None


def encode_path() -> bytes:
    """Return the path that asks for all."""
    return b"/.well-known/masque/ip/*/*/"


def encode_capsule(kind: int, value: bytes) -> bytes:
    """Return a capsule (RFC 9297 3.2)."""
    return encode_integer(kind) + encode_integer(len(value)) + value


def encode_addresses(kind: int, addresses: Iterable[PrefixAddress]) -> bytes:
    """Return an ADDRESS_ASSIGN or ADDRESS_REQUEST capsule."""
    parts = [
        encode_integer(each.request_id) + bytes((each.address.version,)) + each.address.packed + bytes((each.prefix,))
        for each in addresses
    ]
    return encode_capsule(kind, b"".join(parts))


def decode_addresses(kind: int, value: bytes) -> tuple[PrefixAddress, ...]:
    """Read the value of such a capsule.

    Raises:
        ProtocolError: it is malformed (RFC 9484 4.7.1, 4.7.2).
    """
    found: list[PrefixAddress] = []
    at = 0
    while at < len(value):
        number = read_integer(value, at)
        if number is None:
            raise ProtocolError("an address capsule is cut short")
        request_id, at = number
        address, at = _address(value, at)
        if at >= len(value):
            raise ProtocolError("an address capsule is cut short")
        prefix = value[at]
        at += 1
        if prefix > address.max_prefixlen or int(address) & ((1 << (address.max_prefixlen - prefix)) - 1):
            raise ProtocolError("an address has bits beyond its prefix")
        found.append(PrefixAddress(request_id, address, prefix))
    if kind == ADDRESS_REQUEST:
        ids = [each.request_id for each in found]
        if not ids or 0 in ids or len(set(ids)) < len(ids):
            raise ProtocolError("an ADDRESS_REQUEST asks for nothing, or twice under one id")
    return tuple(found)


def encode_routes(ranges: Sequence[IpRange]) -> bytes:
    """Return a ROUTE_ADVERTISEMENT capsule. `ranges` are sorted by version, protocol and address, and disjoint."""
    return encode_capsule(
        ROUTE_ADVERTISEMENT,
        b"".join(
            bytes((each.first.version,)) + each.first.packed + each.last.packed + bytes((each.protocol,))
            for each in ranges
        ),
    )


def decode_routes(value: bytes) -> tuple[IpRange, ...]:
    """Read the value of a ROUTE_ADVERTISEMENT capsule.

    Raises:
        ProtocolError: it is malformed, out of order, or ranges overlap (RFC 9484 4.7.3).
    """
    found: list[IpRange] = []
    at = 0
    while at < len(value):
        first, at = _address(value, at)
        size = len(first.packed)
        if at + size + 1 > len(value):
            raise ProtocolError("a route capsule is cut short")
        last = type(first)(value[at : at + size])
        each = IpRange(first, last, value[at + size])
        at += size + 1
        if int(last) < int(first) or (found and not _follows(found[-1], each)):
            raise ProtocolError("routes are out of order, or overlap")
        found.append(each)
    return tuple(found)


class IpCapsuleReader:
    """Cuts capsules out of a stream that arrives in any pieces; those of unknown types are passed over unkept."""

    __slots__ = ("_at", "_buffer", "_skip")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._skip = 0

    def __repr__(self) -> str:
        return f"<IpCapsuleReader {len(self._buffer) - self._at} bytes>"

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived. Take all that `next` has before more is fed."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next(self) -> tuple[int, bytes] | None:
        """Return type and value of the next capsule, type -1 for one that was passed over; None where more bytes are
        needed.

        Raises:
            ProtocolError: one is longer than any could be.
        """
        buffer = self._buffer
        if self._skip:
            taken = min(self._skip, len(buffer) - self._at)
            self._at += taken
            self._skip -= taken
            return None if self._skip else (-1, b"")
        kind = read_integer(buffer, self._at)
        length = read_integer(buffer, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return None
        size, begin = length
        if kind[0] not in {DATAGRAM, ADDRESS_ASSIGN, ADDRESS_REQUEST, ROUTE_ADVERTISEMENT}:
            self._skip, self._at = size, begin
            return self.next() if size else (-1, b"")
        if size > (MAX_DATAGRAM if kind[0] == DATAGRAM else MAX_VALUE):
            raise ProtocolError(f"a capsule of type {kind[0]} has {size} bytes, which is too long")
        if len(buffer) < begin + size:
            return None
        self._at = begin + size
        return kind[0], bytes(buffer[begin : self._at])


def ip_packet(datagram: bytes) -> bytes | None:
    """Return the IP packet of an HTTP datagram; None where it is of another context, and so not for us.

    Raises:
        ProtocolError: it has no whole context id.
    """
    found = read_integer(datagram, 0)
    if found is None:
        raise ProtocolError("an HTTP datagram has no context id")
    return None if found[0] else datagram[found[1] :]


def _follows(before: IpRange, each: IpRange) -> bool:
    places = [(one.first.version, one.protocol) for one in (before, each)]
    return places[0] < places[1] or (places[0] == places[1] and int(before.last) < int(each.first))


def _address(value: bytes, at: int) -> tuple[Address, int]:
    size = _SIZES.get(value[at]) if at < len(value) else 0
    if size is None:
        raise ProtocolError("an address is of neither IP version")
    packed = value[at + 1 : at + 1 + size]
    if not size or len(packed) < size:
        raise ProtocolError("a capsule ends within an address")
    return ipaddress.ip_address(packed), at + 1 + size
