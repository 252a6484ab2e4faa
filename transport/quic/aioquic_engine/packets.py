"""Building and opening the packets of an established connection (1-RTT, RFC 9000 17.3).

aioquic's own builder serves every packet type and asks each question again for each packet. Here is what remains once
a handshake is confirmed: one header, one key, one packet per datagram.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic.quic.packet import (
    NON_ACK_ELICITING_FRAME_TYPES,
    NON_IN_FLIGHT_FRAME_TYPES,
    QuicFrameType,
    QuicPacketType,
)
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop, QuicSentPacket
from aioquic.tls import Epoch

from pyconnector.transport.quic.aioquic_engine.internals import SAMPLE, Buffer, follow_key_update, sealing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioquic.quic.crypto import CryptoPair

_TAG = 16
_PN_SIZE = 2
#: First byte of a short header with a packet number of two bytes; the key phase is added.
_FIRST_BYTE = 0x40 | (_PN_SIZE - 1)


class SentPacket(QuicSentPacket):
    """aioquic's record of a packet in flight, made without its dataclass's cost."""

    epoch = Epoch.ONE_RTT
    is_crypto_packet = False
    packet_type = QuicPacketType.ONE_RTT
    sent_time: float | None = None
    sent_bytes = 0

    def __init__(self, packet_number: int) -> None:
        self.packet_number = packet_number
        self.in_flight = False
        self.is_ack_eliciting = False
        self.delivery_handlers = []


class DataPacket(SentPacket):
    """A record of a packet of one frame with data."""

    in_flight = True
    is_ack_eliciting = True

    def __init__(self, packet_number: int, handler: Any, handler_args: Sequence[Any]) -> None:
        self.packet_number = packet_number
        self.delivery_handlers = [(handler, handler_args)]


class OneRttBuilder(QuicPacketBuilder):
    """Stands in for aioquic's builder, for many calls of `datagrams_to_send`."""

    def __init__(self, max_datagram_size: int) -> None:
        self._pn = 0
        self._cid = b""
        self._max_datagram_size = 0
        self._current: SentPacket | None = None
        self._key: object = None  # that of what seals: it changes with a key update
        self.quic_logger_frames = None
        self.resize(max_datagram_size)

    def resize(self, max_datagram_size: int) -> None:
        """Build datagrams of up to this size from now on."""
        if self._current is not None:
            self._end_packet()
        if max_datagram_size != self._max_datagram_size:
            self._max_datagram_size = max_datagram_size
            self._buffer = Buffer(max_datagram_size)

    def begin(self, *, packet_number: int, peer_cid: bytes, flight: int, crypto: CryptoPair) -> None:
        """Start a run of packets, of which `flight` bytes may be in flight."""
        follow_key_update(crypto)
        self._pn = packet_number
        self._cid = peer_cid
        self._first_byte = _FIRST_BYTE | crypto.key_phase << 2
        self._overhead = 1 + len(peer_cid) + _PN_SIZE + _TAG
        self._flight_left = flight
        if crypto.send.aead is not self._key:
            self._key = crypto.send.aead
            self._encrypt, self._iv, self._masks = sealing(crypto.send)
        self._current = None
        self._sealed: list[bytes] = []  # behind headers that are protected all together in the end
        self._packets = []

    @property
    def packet_is_empty(self) -> bool:
        """Whether nothing was written since `start_packet`."""
        return not self._buffer.tell()

    @property
    def packet_number(self) -> int:
        """The number of the packet under construction."""
        return self._pn

    @property
    def remaining_buffer_space(self) -> int:
        """Bytes that still fit into the packet."""
        return self._capacity - self._buffer.tell()

    @property
    def remaining_flight_space(self) -> int:
        """Bytes of frames in flight that still fit into packet and window."""
        return self._flight_capacity - self._buffer.tell()

    def start_packet(self, packet_type: QuicPacketType, crypto: CryptoPair) -> None:
        """Finish the packet under construction and start the next."""
        if self._current is not None:
            self._end_packet()
        self._buffer.seek(0)
        self._current = SentPacket(self._pn)
        self._capacity = self._max_datagram_size - self._overhead
        self._flight_capacity = min(self._max_datagram_size, self._flight_left) - self._overhead

    def start_frame(
        self, frame_type: int, capacity: int = 1, handler: Any = None, handler_args: Sequence[Any] = ()
    ) -> Buffer:
        """Start a frame of at least `capacity` bytes.

        Raises:
            QuicPacketBuilderStop: packet or congestion window has no room for it.
        """
        buffer, packet = self._buffer, self._current
        in_flight = frame_type not in NON_IN_FLIGHT_FRAME_TYPES
        if (self._flight_capacity if in_flight else self._capacity) - buffer.tell() < capacity or packet is None:
            raise QuicPacketBuilderStop
        buffer.push_uint_var(frame_type)
        if in_flight:
            packet.in_flight = True
        if frame_type not in NON_ACK_ELICITING_FRAME_TYPES:
            packet.is_ack_eliciting = True
        if handler is not None:
            packet.delivery_handlers.append((handler, handler_args))
        return buffer

    @property
    def full_packet(self) -> int:
        """Bytes of frames that a packet of full size holds."""
        return self._max_datagram_size - self._overhead

    @property
    def has_full_packet(self) -> bool:
        """Whether the congestion window has room for a packet of full size."""
        return self._flight_left >= self._max_datagram_size

    def add_packet(self, frame: bytes, handler: Any, handler_args: Sequence[Any]) -> None:
        """Add a packet of one frame in flight, which fits into it (see `full_packet`)."""
        if self._current is not None:
            self._end_packet()
        self._seal(DataPacket(self._pn, handler, handler_args), frame)

    def write_probe(self, handler: Any, handler_args: Sequence[Any]) -> None:
        """Fill the packet with PING and PADDING, whatever the congestion window says: it probes the path's MTU."""
        packet = self._current
        if packet is not None:
            self._buffer.push_uint_var(QuicFrameType.PING)
            self._buffer.push_bytes(bytes(self.remaining_buffer_space))
            packet.is_ack_eliciting = True
            packet.delivery_handlers.append((handler, handler_args))
            self._end_packet()

    def flush(self) -> tuple[list[bytes], list[QuicSentPacket]]:
        """Return the datagrams and the records of their packets."""
        if self._current is not None:
            self._end_packet()
        packets, sealed = self._packets, self._sealed
        if not packets:
            return [], packets
        masks = self._masks([each[4 - _PN_SIZE : 4 - _PN_SIZE + SAMPLE] for each in sealed])
        first, cid, number = self._first_byte, self._cid, packets[0].packet_number
        datagrams = []
        for at, each in zip(range(0, len(masks), SAMPLE), sealed, strict=True):
            hidden = (number & 0xFFFF) ^ (masks[at + 1] << 8 | masks[at + 2])
            datagrams.append(b"%c%b%b%b" % (first ^ (masks[at] & 0x1F), cid, hidden.to_bytes(_PN_SIZE), each))
            number += 1
        return datagrams, packets

    def _end_packet(self) -> None:
        packet, buffer = self._current, self._buffer
        self._current = None
        size = buffer.tell()
        if not size or packet is None:
            return
        if size < 4 - _PN_SIZE:
            # Header protection samples from the fourth byte after the start of the packet number (RFC 9001 5.4.2).
            buffer.push_bytes(bytes(4 - _PN_SIZE - size))
            size = 4 - _PN_SIZE
            packet.in_flight = True
        self._seal(packet, buffer.data_slice(0, size))

    def _seal(self, packet: SentPacket, frames: bytes) -> None:
        number = self._pn
        header = b"%c%b%b" % (self._first_byte, self._cid, (number & 0xFFFF).to_bytes(_PN_SIZE))
        sealed = self._encrypt((self._iv ^ number).to_bytes(12), frames, header)
        packet.sent_bytes = size = len(header) + len(sealed)
        if packet.in_flight:
            self._flight_left -= size
        self._sealed.append(sealed)
        self._packets.append(packet)
        self._pn = number + 1
