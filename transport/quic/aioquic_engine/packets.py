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

    def __init__(self, packet_number: int) -> None:
        self.epoch = Epoch.ONE_RTT
        self.in_flight = False
        self.is_ack_eliciting = False
        self.is_crypto_packet = False
        self.packet_number = packet_number
        self.packet_type = QuicPacketType.ONE_RTT
        self.sent_time = None
        self.sent_bytes = 0
        self.delivery_handlers = []


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
            self._encrypt, self._iv, self._mask = sealing(crypto.send)
        self._current = None
        self._datagrams = []
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
        return self._datagrams, self._packets

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
        number = self._pn & 0xFFFF
        first, cid = self._first_byte, self._cid
        sealed = self._encrypt(
            (self._iv ^ self._pn).to_bytes(12),
            buffer.data_slice(0, size),
            b"%c%b%b" % (first, cid, number.to_bytes(_PN_SIZE)),
        )
        mask = self._mask(sealed[4 - _PN_SIZE : 4 - _PN_SIZE + SAMPLE])
        number ^= mask[1] << 8 | mask[2]
        datagram = b"%c%b%b%b" % (first ^ (mask[0] & 0x1F), cid, number.to_bytes(_PN_SIZE), sealed)
        packet.sent_bytes = len(datagram)
        if packet.in_flight:
            self._flight_left -= len(datagram)
        self._datagrams.append(datagram)
        self._packets.append(packet)
        self._pn += 1
