"""How an aioquic connection is set up: its windows, its limits, certificates and authorities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pyconnector.transport.congestion.registry import BBR, register
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.tls.edge_roots import find_roots

if TYPE_CHECKING:
    from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls

#: Smallest that QUIC allows (RFC 9000 14).
SMALLEST_PACKET = 1200
#: Guess of the round trip before the first answer (RFC 9002 6.2.2 proposes 333 ms; quic-go uses 100 ms).
INITIAL_ROUND_TRIP = 0.1
_CIPHERS = (
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
)


def client_configuration(tls: ClientTls, settings: QuicSettings) -> QuicConfiguration:
    """Return a client's configuration.

    Raises:
        ConnectFailed: there is no such congestion control.
    """
    configuration = _configuration(settings, tls.alpn, is_client=True)
    roots = find_roots(tls.ca_file)
    configuration.server_name = tls.server_name
    configuration.load_verify_locations(cafile=roots.path, cadata=roots.extra or None)
    return configuration


def server_configuration(tls: ServerTls, settings: QuicSettings) -> QuicConfiguration:
    """Return a server's configuration.

    Raises:
        ConnectFailed: certificate and key cannot be read, or there is no such congestion control.
    """
    configuration = _configuration(settings, tls.alpn, is_client=False)
    try:
        chain = x509.load_pem_x509_certificates(tls.certificate_chain)
        configuration.private_key = load_pem_private_key(tls.private_key, password=None)
    except (ValueError, TypeError) as exc:
        # Without the cause's text: it may quote the key.
        raise ConnectFailed(f"cannot read the server's certificate or key ({type(exc).__name__})") from None
    configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]
    if chain[0].public_key() != configuration.private_key.public_key():
        raise ConnectFailed("the server's certificate and its key do not belong together")
    return configuration


def _configuration(settings: QuicSettings, alpn: str, *, is_client: bool) -> QuicConfiguration:
    # BBR by default: at 30 ms and 1 % loss it carries some twenty times what cubic does (docs/congestion.md).
    control = BBR if settings.congestion_control == "auto" else settings.congestion_control
    if control == BBR:
        register()
    elif control not in ("cubic", "reno"):
        raise ConnectFailed(f"unknown congestion control {control!r}: choose auto, bbr, cubic or reno")
    return QuicConfiguration(
        alpn_protocols=[alpn],
        cipher_suites=list(_CIPHERS),
        congestion_control_algorithm=control,
        idle_timeout=settings.idle_timeout,
        initial_rtt=INITIAL_ROUND_TRIP,
        is_client=is_client,
        max_data=min(settings.initial_connection_window, settings.connection_window),
        max_datagram_frame_size=settings.datagram_frame_size,
        max_datagram_size=max(settings.initial_packet_size, SMALLEST_PACKET),
        max_stream_data=min(settings.initial_stream_window, settings.stream_window),
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )
