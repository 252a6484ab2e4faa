"""TCP segments as values (RFC 9293 3.1), with the options that are used: MSS and window scale (RFC 7323 2). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from pyconnector.transport.ip.checksum import transport_checksum
from pyconnector.transport.ip.packets import TCP, PacketError, encode_packet

if TYPE_CHECKING:
    from pyconnector.transport.ip.packets import IpPacket

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
#: Largest window scale (RFC 7323 2.3).
MAX_SCALE: Final = 14
_HEADER = Struct(">HHIIBBHHH")
_END, _NOTHING, _MSS, _SCALE = 0, 1, 2, 3
_MASK = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment, without the addresses around it."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int = 0
    flags: int
    window: int = 0
    "As it is in the header, not scaled."
    mss: int | None = None
    scale: int | None = None
    payload: bytes = b""

    @property
    def length(self) -> int:
        """How much of the sequence it takes."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


def decode_segment(packet: IpPacket) -> Segment:
    """Read the segment in a packet. Options that are not known are passed over; urgent data is data.

    Raises:
        PacketError: it is cut short, or its checksum is wrong.
    """
    data = packet.payload
    if len(data) < _HEADER.size:
        raise PacketError("malformed", "a TCP header is cut short")
    source, destination, sequence, acknowledgement, offset, flags, window, _, _ = _HEADER.unpack_from(data)
    header = (offset >> 4) * 4
    if not _HEADER.size <= header <= len(data):
        raise PacketError("malformed", "a TCP header has another length than it says")
    if transport_checksum(packet.source, packet.destination, TCP, data):
        raise PacketError("checksum", "the checksum of a TCP segment is wrong")
    mss, scale = _options(data[_HEADER.size : header]) if header > _HEADER.size else (None, None)
    return Segment(
        source_port=source, destination_port=destination, sequence=sequence, acknowledgement=acknowledgement,
        flags=flags, window=window, mss=mss, scale=scale, payload=data[header:],
    )  # fmt: skip


def encode_segment(segment: Segment, source: bytes, destination: bytes) -> bytes:
    """Return a packet with the segment, between two packed addresses."""
    options = b"" if segment.mss is None else bytes((_MSS, 4)) + segment.mss.to_bytes(2, "big")
    if segment.scale is not None:
        options += bytes((_NOTHING, _SCALE, 3, segment.scale))
    fields = (
        segment.source_port, segment.destination_port, segment.sequence & _MASK, segment.acknowledgement & _MASK,
        (_HEADER.size + len(options)) // 4 << 4, segment.flags, min(segment.window, 0xFFFF),
    )  # fmt: skip
    behind = options + segment.payload
    check = transport_checksum(source, destination, TCP, _HEADER.pack(*fields, 0, 0) + behind)
    return encode_packet(source, destination, TCP, _HEADER.pack(*fields, check, 0) + behind)


def unwrap(value: int, near: int) -> int:
    """Return the whole number that a 32-bit sequence number stands for: the one that is nearest to `near`."""
    return near + ((value - near + 0x8000_0000) & _MASK) - 0x8000_0000


def _options(data: bytes) -> tuple[int | None, int | None]:
    mss = scale = None
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _NOTHING:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            raise PacketError("malformed", "an option of a TCP header has no length that fits")
        if data[at] == _MSS and size == 4:
            mss = int.from_bytes(data[at + 2 : at + 4], "big")
        elif data[at] == _SCALE and size == 3:
            scale = min(data[at + 2], MAX_SCALE)
        at += size
    return mss, scale
