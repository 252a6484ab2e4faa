"""Frames that a well-behaved engine would never send, in packets that are otherwise right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.tls import Epoch

if TYPE_CHECKING:
    from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection


def inject(connection: AioquicConnection, *frames: bytes) -> None:
    """Send `frames` in one packet of an established connection, with a PING before them."""
    core, loop = connection.core, connection._loop
    builder = core._builder
    # Not those that it keeps at hand: it may have sent nothing yet since the handshake.
    keys = core._cryptos[Epoch.ONE_RTT]
    builder.begin(packet_number=core._packet_number, peer_cid=core._peer_cid.cid, flight=1 << 30, crypto=keys)
    builder.start_packet(QuicPacketType.ONE_RTT, keys)
    buffer = builder.start_frame(QuicFrameType.PING)
    for frame in frames:
        buffer.push_bytes(frame)
    datagrams, packets = builder.flush()
    core._packet_number = builder.packet_number
    for packet in packets:
        packet.sent_time = loop.time()
        core._loss.on_packet_sent(packet=packet, space=core._numbers)
    connection._send([(datagram, connection.peer_address) for datagram in datagrams])


def numbers(*values: int) -> bytes:
    """Encode variable-length integers (RFC 9000 16)."""
    buffer = Buffer(capacity=8 * len(values))
    for value in values:
        buffer.push_uint_var(value)
    return buffer.data


def stream_frame(stream_id: int, data: bytes, *, offset: int = 0, ends: bool = False) -> bytes:
    """Encode a STREAM frame with offset and length."""
    return numbers(0x0E | ends, stream_id, offset, len(data)) + data


def reset_frame(stream_id: int, code: int, final_size: int) -> bytes:
    """Encode a RESET_STREAM frame."""
    return numbers(0x04, stream_id, code, final_size)
