"""What qh3 keeps private and this engine touches: the one place to look at when qh3 is upgraded.

`NAMES` lists every private attribute and method of qh3's classes that is read, written or overridden, all of them here;
the private native module is imported here alone. tests/transport/quic/test_internals.py compares the list with the
installed package, and with the engine.

qh3 (2.1) is a native packet core with TLS in Python. Its facade turns every event into an object and fixes limits that
we set ourselves, so `NativeQuic` builds core and TLS with our limits and leaves the core's events to the owner, which
also calls the core directly once the handshake is over (`core`).

A peer with a zero-length connection ID (quic-go, so cloudflared) is answered too: the core learns a client's ID only
where it has one, so here it is told from the start that the ID is empty, takes the ID that the client chose for us as
ours, and gets the Initial keys from Python (RFC 9001 5.2), because it would derive them from the empty ID.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
from typing import TYPE_CHECKING, Any

from qh3 import tls
from qh3._hazmat import (
    AeadAes128Gcm,
    AeadAes256Gcm,
    AeadChaCha20Poly1305,
    Buffer,
    CryptoError,
    QuicConnectionCore,
    decode_packet_number,
    pull_quic_header,
)
from qh3.quic.connection import QuicConnection
from qh3.quic.crypto import CIPHER_SUITES, derive_key_iv_hp
from qh3.quic.packet import (
    QuicProtocolVersion,
    QuicTransportParameters,
    QuicVersionInformation,
    push_quic_transport_parameters,
)
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError, QuicTlsTrafficSecret

from pyconnector.transport.tls.diagnosis import diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.quic.qh3_engine.configuration import Configuration

__all__ = [
    "NAMES",
    "AeadAes128Gcm",
    "AeadAes256Gcm",
    "AeadChaCha20Poly1305",
    "CryptoError",
    "NativeQuic",
    "QuicConnectionCore",
    "decode_packet_number",
    "pull_quic_header",
]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: By class, as a dotted path.
NAMES: dict[str, frozenset[str]] = {
    "qh3.quic.connection.QuicConnection": _names(
        """
        _applied_transport_parameters _configuration _core _create_core _create_tls _drain_core _drain_tls
        _handshake_complete _handshake_confirmed _is_client _original_destination_connection_id
        _pre_handshake_state_replayed _remote_max_datagram_frame_size _require_core _retry_source_connection_id
        _set_version _tls _version
        """
    ),
    "qh3.tls.Context": _names("_offer_ec_key_shares _peer_certificate _supported_groups"),
}

#: Values of RFC 9000 18.2 that the core is built with.
MAX_ACK_DELAY_MS, ACK_DELAY_EXPONENT, ACTIVE_CONNECTION_IDS = 25, 3, 4
#: Largest UDP payload that we take (wire.md 2).
MAX_UDP_PAYLOAD = 1472

#: What qh3 says of a certificate that is expired, for another name, or anything else.
_UNEXPLAINED = "certificate is unacceptable"
_INITIAL_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")


class NativeQuic(QuicConnection):
    """One connection. `on_events` is called when the core may have events, to be taken with `core.next_event`."""

    _configuration: Configuration
    #: What TLS ended the connection with: error code (RFC 9001 4.8) and sentence.
    failure: tuple[int, str] | None = None

    def __init__(
        self,
        configuration: Configuration,
        *,
        original_destination: bytes | None = None,
        retry_source: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination,
            retry_source_connection_id=retry_source,
        )
        self.on_events: Callable[[], None] = _ignore
        self._peer_id_is_empty = False

    @classmethod
    def for_client(
        cls,
        configuration: Configuration,
        original_destination: bytes,
        source: bytes,
        *,
        retry_source: bytes | None = None,
    ) -> NativeQuic:
        """Return the server's side for a client whose first packet carried these connection IDs.

        `retry_source` is the ID that a Retry made it use from then on, where it was sent one.
        """
        if source:
            return cls(configuration, original_destination=original_destination, retry_source=retry_source)
        destination = retry_source or original_destination
        own = copy.copy(configuration)
        own.connection_id_length = len(destination)
        quic = cls(own, original_destination=original_destination, retry_source=retry_source)
        quic.host_cid = destination
        quic._peer_id_is_empty = True
        return quic

    @property
    def core(self) -> QuicConnectionCore:
        """The native connection, once there is one."""
        return self._require_core()

    @property
    def is_started(self) -> bool:
        """Whether the core exists: on a server, once a first packet was good."""
        return self._core is not None

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete."""
        return self._handshake_complete

    @property
    def alpn(self) -> str | None:
        """The protocol agreed upon."""
        return None if self._tls is None else self._tls.tls.alpn_negotiated

    @property
    def peer_datagram_frame(self) -> int:
        """Largest DATAGRAM frame that the peer takes; 0 for none."""
        return self._remote_max_datagram_frame_size or 0

    @property
    def receive_secret(self) -> QuicTlsTrafficSecret:
        """What the peer's packets are encrypted with once the handshake is over."""
        bridge = self._tls
        if not isinstance(bridge, _Bridge) or bridge.receive_secret is None:
            raise RuntimeError("the connection is not established")
        return bridge.receive_secret

    def take_crypto(self, event: tuple[Any, ...]) -> None:
        """Feed a `crypto_data` event to TLS; an alert of its own closes the connection and is left in `failure`."""
        bridge = self._tls
        core = self.core
        if bridge is None:
            return
        try:
            bridge.receive_crypto(tls.Epoch(event[1]), event[3], event[2], version=core.version)
            self._drain_tls()
        except QuicTlsBridgeError as exc:
            self.failure = (exc.error_code, self._explained(bridge, exc.reason_phrase))
            with contextlib.suppress(RuntimeError):
                core.close(exc.error_code, int(exc.frame_type), exc.reason_phrase.encode())

    def _explained(self, bridge: QuicTlsBridge, reason: str) -> str:
        """Say more of a certificate than that it is unacceptable, where that is all qh3 says."""
        peer = bridge.tls._peer_certificate
        if _UNEXPLAINED not in reason or peer is None:
            return reason
        now = datetime.datetime.now(datetime.UTC)
        return diagnosis(peer.public_bytes(), self._configuration.server_name or "", now) or reason

    def confirm(self) -> None:
        """The server confirmed the handshake (HANDSHAKE_DONE)."""
        self._handshake_confirmed = True
        self.core.handshake_confirmed()

    def _drain_core(self) -> None:
        self.on_events()

    def _create_core(self, remote_addr: Any, initial_dcid: bytes, now: float) -> None:
        configuration = self._configuration
        self._core = QuicConnectionCore(
            self._is_client,
            self._version or QuicProtocolVersion.VERSION_1,
            ("0.0.0.0", 0),
            remote_addr,
            self.host_cid,
            b"" if self._peer_id_is_empty else initial_dcid,
            self._is_client or self._retry_source_connection_id is not None,
            ACTIVE_CONNECTION_IDS,
            configuration.max_datagram_size,
            configuration.probe_datagram_size,
            configuration.idle_timeout,
            ACK_DELAY_EXPONENT,
            configuration.max_datagram_frame_size,
            None,
            configuration.max_data,
            0,
            configuration.max_stream_data,
            0,
            0,
            0,
            configuration.max_stream_data,
            configuration.incoming_streams,
            configuration.incoming_unidirectional,
            0,
            0,
            configuration.initial_rtt,
            MAX_ACK_DELAY_MS / 1000,
            now,
        )
        if self._peer_id_is_empty:
            self._install_initial_keys(initial_dcid)
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = False

    def _install_initial_keys(self, destination: bytes) -> None:
        suite = tls.CipherSuite.AES_128_GCM_SHA256
        header_protection, aead = (name.decode() for name in CIPHER_SUITES[suite])
        initial = tls.hkdf_extract(256, _INITIAL_SALT, destination)
        for direction, label in (("receive", b"client in"), ("send", b"server in")):
            secret = tls.hkdf_expand_label(256, initial, label, b"", 32)
            key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)
            self.core.install_packet_key(direction, 0, (aead, header_protection), key, iv, hp, 0)

    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        bridge = _Bridge(
            self._configuration,
            version=self._version or QuicProtocolVersion.VERSION_1,
            local_initial_source_connection_id=self.host_cid,
            remote_initial_source_connection_id=b"" if self._peer_id_is_empty else remote_source_cid,
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
            version_change_handler=self._set_version,
        )
        if self._configuration.post_quantum_only:
            bridge.tls._supported_groups = [tls.Group.X25519ML768]
        elif self._configuration.is_client:
            # A share for each from the start: TLS here cannot answer a HelloRetryRequest.
            bridge.tls._supported_groups = [tls.Group.X25519ML768, tls.Group.X25519, tls.Group.SECP256R1]
            bridge.tls._offer_ec_key_shares = True
        self._tls = bridge
        return bridge


class _Bridge(QuicTlsBridge):
    """TLS with our transport parameters (wire.md 2) in place of a browser's."""

    #: What the peer's packets are encrypted with once the handshake is over.
    receive_secret: QuicTlsTrafficSecret | None = None

    def next_traffic_secret(self) -> QuicTlsTrafficSecret | None:
        """See the base class; keeps what `NativeQuic.receive_secret` returns."""
        secret = super().next_traffic_secret()
        if secret is not None and secret.epoch == tls.Epoch.ONE_RTT and secret.direction == tls.Direction.DECRYPT:
            self.receive_secret = secret
        return secret

    def serialize_transport_parameters(self) -> bytes:
        configuration = self.configuration
        server = not configuration.is_client
        parameters = QuicTransportParameters(
            max_idle_timeout=int(configuration.idle_timeout * 1000),
            max_udp_payload_size=MAX_UDP_PAYLOAD,
            initial_max_data=configuration.max_data,
            initial_max_stream_data_bidi_local=configuration.max_stream_data,
            initial_max_stream_data_bidi_remote=configuration.max_stream_data,
            initial_max_stream_data_uni=configuration.max_stream_data,
            initial_max_streams_bidi=getattr(configuration, "incoming_streams", 0),
            initial_max_streams_uni=getattr(configuration, "incoming_unidirectional", 0),
            ack_delay_exponent=ACK_DELAY_EXPONENT,
            max_ack_delay=MAX_ACK_DELAY_MS,
            active_connection_id_limit=ACTIVE_CONNECTION_IDS,
            initial_source_connection_id=self.local_initial_source_connection_id,
            max_datagram_frame_size=configuration.max_datagram_frame_size,
            version_information=QuicVersionInformation(
                chosen_version=self.version, available_versions=configuration.supported_versions
            ),
        )
        if server:
            parameters.original_destination_connection_id = self.original_destination_connection_id
            parameters.retry_source_connection_id = self.retry_source_connection_id
            parameters.stateless_reset_token = self.stateless_reset_token
        buffer = Buffer(capacity=1024)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data


def _ignore() -> None:
    """Nobody listens to the events yet."""
