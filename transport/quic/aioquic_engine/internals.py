"""What aioquic keeps private and this engine touches: the one place to look at when aioquic is upgraded.

`NAMES` lists every private attribute and method of aioquic's classes that the engine reads, writes or overrides.
tests/transport/quic/test_internals.py compares the list with the installed package and with the engine, in both
directions: an upgrade that takes a name away, or begins to use one that the engine made up, fails with that name. What
is reached from outside of a class is reached here; subclasses use their inherited names in their own files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic._buffer import Buffer, BufferReadError
from aioquic.tls import Group
from cryptography.exceptions import InvalidTag

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.crypto import CryptoContext, CryptoPair
    from aioquic.quic.recovery import QuicPacketRecovery
    from aioquic.tls import Context

__all__ = [
    "NAMES",
    "SAMPLE",
    "BadPacket",
    "Buffer",
    "BufferReadError",
    "NewKeyPhase",
    "follow_key_update",
    "open_packet",
    "recovery_options",
    "replace_recovery",
    "sealing",
    "set_groups",
]

#: Bytes of a packet that its header is protected with (RFC 9001 5.4.2).
SAMPLE = 16
_RESERVED_BITS = 0x18


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: By class, as a dotted path.
NAMES: dict[str, frozenset[str]] = {
    "aioquic._crypto.AEAD": _names("_aead _iv"),
    "aioquic._crypto.HeaderProtection": _names("_encryptor _is_chacha20 _mask"),
    "aioquic.quic.connection.QuicConnection": _names(
        """
        _QuicConnection__frame_handlers _ack_delay _ack_eliciting_sent_since_receipt _close_at _close_event
        _close_pending _configuration _confirm_handshake _cryptos _datagrams_pending
        _handle_connection_close_frame _handle_datagram_frame _handle_max_data_frame
        _handle_max_stream_data_frame _handle_max_streams_bidi_frame _handle_reset_stream_frame
        _handle_stop_sending_frame _handle_stream_data_blocked_frame _handle_stream_frame _handshake_complete
        _handshake_confirmed _handshake_done_pending _host_cids _idle_timeout _initialize _is_client
        _local_max_streams_bidi _local_max_streams_uni _local_next_stream_id_bidi _local_next_stream_id_uni
        _logger _loss _loss_at
        _max_datagram_size _network_paths _on_connection_limit_delivery _on_new_connection_id_delivery
        _pacing_at _packet_number _parse_transport_parameters _peer_cid _ping_pending _probe_pending
        _remote_max_data _remote_max_data_used _remote_max_datagram_frame_size
        _remote_max_stream_data_bidi_local _remote_max_stream_data_bidi_remote _remote_max_stream_data_uni
        _remote_max_streams_bidi _remote_max_streams_uni
        _remote_preferred_address _replenish_connection_ids _retire_connection_ids _send_probe _spaces _state
        _write_ack_frame _write_application _write_datagram_frame _write_handshake_done_frame
        _write_new_connection_id_frame _write_path_challenge_frame _write_path_response_frame _write_ping_frame
        _write_retire_connection_id_frame
        """
    ),
    "aioquic.quic.crypto.CryptoPair": _names("_update_key _update_key_requested"),
    "aioquic.quic.packet_builder.QuicPacketBuilder": _names("_buffer _end_packet _flight_capacity _packets"),
    "aioquic.quic.recovery.QuicPacketPacer": _names("_max_datagram_size"),
    "aioquic.quic.recovery.QuicPacketRecovery": _names(
        """
        _cc _detect_loss _in_persistent_congestion _on_packets_lost _pacer _pto_count _rtt_first_sample_time
        _rtt_initial _rtt_initialized _rtt_latest _rtt_min _rtt_smoothed _rtt_variance
        _time_of_last_sent_ack_eliciting_packet
        """
    ),
    "aioquic.tls.Context": _names(
        """
        _alpn_protocols _cipher_suites _client_handle_hello _client_send_hello _enc_key _key_schedule_proxy
        _legacy_compression_methods _next_dec_key _psk_key_exchange_mode _server_expect_finished
        _server_handle_hello _set_state _setup_traffic_protection _signature_algorithms_for_private_key
        _supported_groups _supported_versions
        """
    ),
}


# -- connections ---------------------------------------------------------------------------------------------------


def recovery_options(connection: QuicConnection) -> dict[str, Any]:
    """Return what a recovery of one's own is made with, in place of that which `connection` just got."""
    return {
        "initial_rtt": connection.configuration.initial_rtt,
        "max_datagram_size": connection._max_datagram_size,
        "peer_completed_address_validation": not connection._is_client,
        "send_probe": connection._send_probe,
    }


def replace_recovery(connection: QuicConnection, recovery: QuicPacketRecovery) -> None:
    """Give a connection that has not begun another recovery.

    Raises:
        ValueError: the connection has begun.
    """
    if connection._loss.spaces:
        raise ValueError("a recovery must be replaced before the connection begins")
    connection._loss = recovery


def set_groups(context: Context, groups: list[Group]) -> None:
    """Let a TLS context offer and accept these groups."""
    context._supported_groups = groups


# -- protection of packets -----------------------------------------------------------------------------------------


def follow_key_update(crypto: CryptoPair) -> None:
    """Take the next keys where they were asked for: packets built from now on are protected with them."""
    if crypto._update_key_requested:
        crypto._update_key("local_update")


def sealing(
    crypto: CryptoContext,
) -> tuple[Callable[[bytes, bytes, bytes], bytes], int, Callable[[list[bytes]], bytes]]:
    """Return what seals packets: encryption of (nonce, data, header), the nonce's base, the masks of samples.

    Masks come joined, each in `SAMPLE` bytes of its own.
    """
    aead, protection = crypto.aead, crypto.hp
    assert aead is not None
    assert protection is not None
    mask, update = protection._mask, protection._encryptor.update

    def each(samples: list[bytes]) -> bytes:
        return b"".join(mask(sample).ljust(SAMPLE) for sample in samples)

    def together(samples: list[bytes]) -> bytes:
        return update(b"".join(samples))

    # With AES a mask is the sample's block encrypted (RFC 9001 5.4.3), so that one call does for many.
    return aead._aead.encrypt, aead._iv, each if protection._is_chacha20 else together


class BadPacket(Exception):
    """The packet is not for this connection, forged, or damaged: drop it."""


class NewKeyPhase(Exception):
    """The packet is protected by the next keys."""


def open_packet(crypto: CryptoContext, data: bytes, cid_size: int, expected: int) -> tuple[int, bytes, bool]:
    """Return packet number, frames, and whether the reserved bits are zero as they must.

    Raises:
        BadPacket: drop it.
        NewKeyPhase: let aioquic look at it.
    """
    start = 1 + cid_size
    aead, protection = crypto.aead, crypto.hp
    if aead is None or protection is None or len(data) < start + 4 + SAMPLE:
        raise BadPacket
    mask = protection._mask(data[start + 4 : start + 4 + SAMPLE])
    first = data[0] ^ (mask[0] & 0x1F)
    size = (first & 3) + 1
    if first >> 2 & 1 != crypto.key_phase:
        raise NewKeyPhase
    number = int.from_bytes(data[start : start + size]) ^ int.from_bytes(mask[1 : 1 + size])
    header = b"%c%b%b" % (first, data[1:start], number.to_bytes(size))
    number = _full_number(number, size * 8, expected)
    try:
        frames = aead._aead.decrypt((aead._iv ^ number).to_bytes(12), data[start + size :], header)
    except InvalidTag:
        raise BadPacket from None
    return number, frames, not first & _RESERVED_BITS


def _full_number(truncated: int, bits: int, expected: int) -> int:
    """Return the packet number nearest to `expected` that ends in `truncated` (RFC 9000 A.3)."""
    window = 1 << bits
    candidate = (expected & ~(window - 1)) | truncated
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate
