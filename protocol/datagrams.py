"""QUIC datagrams: UDP sessions, and IP packets for ICMP, in the protocol's versions 2 and 3 (wire.md 11 and 12).

Version 2 puts its type last, version 3 first; which one is spoken was settled when the connection registered. One
datagram is one value: `decode_v2` or `decode_v3` turn its bytes into one, `encode` of the value goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, TypeAlias
from uuid import UUID

from pyconnector.protocol.errors import ProtocolError

#: Largest datagram of version 2, its metadata and type included.
MAX_V2_BYTES: Final = 1_350
#: Largest payload of a UDP session, and largest IP packet, in either version.
MAX_PAYLOAD_BYTES: Final = 1_280
#: Longest text of a version 3 response.
MAX_ERROR_BYTES: Final = 1_260
#: Idle time of a session whose registration gives none.
DEFAULT_IDLE_SECONDS: Final = 210

_TRACE = Struct(">QQQB")
TRACE_BYTES: Final = _TRACE.size
_ID_BYTES: Final = 16


# Version 2


class _TypeV2(IntEnum):
    UDP = 0
    IP = 1
    TRACED_IP = 2
    SPANS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceIdentity:
    """Which trace a packet belongs to."""

    trace_id: int
    "128 bits."
    span_id: int
    flags: int

    def encode(self) -> bytes:
        """Return the 25 bytes that stand before a datagram's type."""
        return _TRACE.pack(self.trace_id >> 64, self.trace_id & 0xFFFF_FFFF_FFFF_FFFF, self.span_id, self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpPayload:
    """One packet of a UDP session, in either direction."""

    session_id: UUID
    payload: bytes

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: it is larger than a datagram of version 2 may be.
        """
        return _bounded_v2(self.payload + self.session_id.bytes + b"\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class IpPacket:
    """One whole IP packet (ICMP), traced or not."""

    packet: bytes
    trace: TraceIdentity | None = None

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: it is larger than a datagram of version 2 may be.
        """
        if self.trace is None:
            return _bounded_v2(self.packet + b"\x01")
        return _bounded_v2(self.packet + self.trace.encode() + b"\x02")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSpans:
    """Spans (OTLP protobuf) of a traced packet, towards the edge."""

    spans: bytes
    trace: TraceIdentity

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: it is larger than a datagram of version 2 may be.
        """
        return _bounded_v2(self.spans + self.trace.encode() + b"\x03")


DatagramV2: TypeAlias = UdpPayload | IpPacket | TracingSpans


def decode_v2(data: bytes) -> DatagramV2:
    """Read one datagram of version 2.

    Raises:
        ProtocolError: it is too short or too long, or its type is unknown. Others of the connection may go on.
    """
    if not data:
        raise ProtocolError("a datagram is empty")
    _bounded_v2(data)
    kind = data[-1]
    if kind == _TypeV2.UDP:
        body, metadata = _cut(data, _ID_BYTES)
        return UdpPayload(session_id=UUID(bytes=metadata), payload=body)
    if kind == _TypeV2.IP:
        return IpPacket(packet=data[:-1])
    if kind in {_TypeV2.TRACED_IP, _TypeV2.SPANS}:
        body, metadata = _cut(data, TRACE_BYTES)
        high, low, span_id, flags = _TRACE.unpack(metadata)
        trace = TraceIdentity(trace_id=high << 64 | low, span_id=span_id, flags=flags)
        if kind == _TypeV2.TRACED_IP:
            return IpPacket(packet=body, trace=trace)
        return TracingSpans(spans=body, trace=trace)
    raise ProtocolError(f"a datagram is of unknown type {kind}")


def session_tail_v2(session_id: bytes) -> bytes:
    """Return what stands behind each payload of a session: `payload + tail` is its datagram.

    Raises:
        ProtocolError: the id is none.
    """
    return _id(session_id) + b"\x00"


def split_payload_v2(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the session id and the payload of a `UdpPayload`, or None where `data` is something else.

    The same as `decode_v2` without a value in between, for whoever sees thousands a second.
    """
    if len(data) > _ID_BYTES and data[-1] == _TypeV2.UDP and len(data) <= MAX_V2_BYTES:
        return data[-_ID_BYTES - 1 : -1], data[: -_ID_BYTES - 1]
    return None


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    """Return what stands before the `size` bytes of metadata, and these."""
    if len(data) < size + 1:
        raise ProtocolError(f"a datagram of {len(data)} bytes is too short for its type")
    return data[: -size - 1], data[-size - 1 : -1]


def _bounded_v2(data: bytes) -> bytes:
    if len(data) > MAX_V2_BYTES:
        raise ProtocolError(f"a datagram of {len(data)} bytes is beyond the limit of {MAX_V2_BYTES}")
    return data


# Version 3


class _TypeV3(IntEnum):
    REGISTRATION = 0
    PAYLOAD = 1
    ICMP = 2
    RESPONSE = 3


class ResponseCode(IntEnum):
    """What became of a registration."""

    OK = 0x00
    DESTINATION_UNREACHABLE = 0x01
    UNABLE_TO_BIND = 0x02
    "What the reference answers to every failure but the next."
    TOO_MANY_FLOWS = 0x03
    ERROR = 0xFF


_IPV6, _TRACED, _BUNDLED = 0x01, 0x02, 0x04
_REGISTRATION = Struct(">BBHH16s")
_RESPONSE = Struct(">BB16sH")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRegistration:
    """The edge asks for a UDP session, perhaps with its first packet."""

    request_id: bytes
    "16 bytes that name the session from now on."
    destination_ip: IPv4Address | IPv6Address
    destination_port: int
    idle_seconds: int = DEFAULT_IDLE_SECONDS
    payload: bytes = b""
    traced: bool = False

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: the payload is larger than it may be.
        """
        flags = _IPV6 * (self.destination_ip.version == 6) | _TRACED * self.traced | _BUNDLED * bool(self.payload)
        head = _REGISTRATION.pack(
            _TypeV3.REGISTRATION, flags, self.destination_port, self.idle_seconds, _id(self.request_id)
        )
        return head + self.destination_ip.packed + _payload(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPayload:
    """One packet of a UDP session, in either direction."""

    request_id: bytes
    payload: bytes

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: the payload is larger than it may be.
        """
        return b"\x01" + _id(self.request_id) + _payload(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpPacket:
    """One whole IP packet that holds an ICMP message."""

    packet: bytes

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
            ProtocolError: the packet is empty or larger than it may be.
        """
        if not self.packet:
            raise ProtocolError("an ICMP packet is empty")
        return b"\x02" + _payload(self.packet)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResponse:
    """The connector's answer to a registration."""

    request_id: bytes
    code: ResponseCode
    error: str = ""

    def encode(self) -> bytes:
        """Return the datagram. A text that is too long is cut."""
        text = self.error.encode("utf-8", "replace")[:MAX_ERROR_BYTES]
        return _RESPONSE.pack(_TypeV3.RESPONSE, self.code, _id(self.request_id), len(text)) + text


DatagramV3: TypeAlias = SessionRegistration | SessionPayload | IcmpPacket | SessionResponse


def decode_v3(data: bytes) -> DatagramV3:
    """Read one datagram of version 3.

    Raises:
        ProtocolError: it is too short or too long, or its type is unknown. Others of the connection may go on.
    """
    if not data:
        raise ProtocolError("a datagram is empty")
    kind = data[0]
    if kind == _TypeV3.PAYLOAD:
        _need(data, 1 + _ID_BYTES)
        return SessionPayload(request_id=data[1:17], payload=_payload(data[17:]))
    if kind == _TypeV3.REGISTRATION:
        return _decode_registration(data)
    if kind == _TypeV3.ICMP:
        _need(data, 2)
        return IcmpPacket(packet=_payload(data[1:]))
    if kind == _TypeV3.RESPONSE:
        return _decode_response(data)
    raise ProtocolError(f"a datagram is of unknown type {kind}")


def session_head_v3(request_id: bytes) -> bytes:
    """Return what stands before each payload of a session: `head + payload` is its datagram.

    Raises:
        ProtocolError: the id is none.
    """
    return b"\x01" + _id(request_id)


def split_payload_v3(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the request id and the payload of a `SessionPayload`, or None where `data` is something else.

    The same as `decode_v3` without a value in between, for whoever sees thousands a second.
    """
    if _ID_BYTES < len(data) <= 1 + _ID_BYTES + MAX_PAYLOAD_BYTES and data[0] == _TypeV3.PAYLOAD:
        return data[1 : 1 + _ID_BYTES], data[1 + _ID_BYTES :]
    return None


def _decode_registration(data: bytes) -> SessionRegistration:
    _need(data, _REGISTRATION.size)
    _, flags, port, idle_seconds, request_id = _REGISTRATION.unpack_from(data)
    size = 16 if flags & _IPV6 else 4
    end = _REGISTRATION.size + size
    _need(data, end)
    address = data[_REGISTRATION.size : end]
    return SessionRegistration(
        request_id=request_id,
        destination_ip=IPv6Address(address) if flags & _IPV6 else IPv4Address(address),
        destination_port=port,
        idle_seconds=idle_seconds or DEFAULT_IDLE_SECONDS,
        payload=_payload(data[end:]) if flags & _BUNDLED else b"",
        traced=bool(flags & _TRACED),
    )


def _decode_response(data: bytes) -> SessionResponse:
    _need(data, _RESPONSE.size)
    _, code, request_id, size = _RESPONSE.unpack_from(data)
    text = data[_RESPONSE.size :]
    if size != len(text) or size > MAX_ERROR_BYTES:
        raise ProtocolError("the text of a session response has another length than it says")
    try:
        known = ResponseCode(code)
    except ValueError:
        raise ProtocolError(f"a session response has the unknown code {code:#04x}") from None
    return SessionResponse(request_id=request_id, code=known, error=text.decode("utf-8", "replace"))


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise ProtocolError(f"a datagram of {len(data)} bytes is too short for its type")


def _id(value: bytes) -> bytes:
    if len(value) != _ID_BYTES:
        raise ProtocolError(f"a request id has {len(value)} bytes instead of {_ID_BYTES}")
    return value


def _payload(value: bytes) -> bytes:
    if len(value) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a payload of {len(value)} bytes is beyond the limit of {MAX_PAYLOAD_BYTES}")
    return value
