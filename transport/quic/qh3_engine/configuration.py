"""How a qh3 connection is set up: its windows, its limits, certificates and authorities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qh3.quic.configuration import QuicConfiguration

from pyconnector.transport.buffers.connection import PEER_STREAMS
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.tls.edge_roots import find_roots

if TYPE_CHECKING:
    from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls

#: Length of the connection IDs that we issue.
CONNECTION_ID_LENGTH = 8
#: Bytes of a connection's streams that may wait unread before its events are left in the core (see connection.py).
UNREAD_LIMIT = 8 * 1024 * 1024
#: Largest window of the connection in the core: what slow readers have there delays all others once that limit is
#: reached, by this divided by their pace together; and the connection's throughput is at most this in a round trip.
CORE_CONNECTION_WINDOW = 4 * 1024 * 1024
#: Largest window of one stream in the core, with the same two consequences for one slow reader and for its throughput.
CORE_STREAM_WINDOW = 512 * 1024
#: RTT assumed before the first sample: quic-go's, so that a lost first flight costs as little as with the reference.
INITIAL_RTT = 0.1


class Configuration(QuicConfiguration):
    """qh3's configuration with what it lacks. No dataclass itself, which would cost each start a millisecond."""

    incoming_streams = 100
    incoming_unidirectional = 0
    post_quantum_only = False


@dataclass(frozen=True, slots=True)
class Windows:
    """How much may arrive unread: `connection` and `stream` are the core's windows, `unread` is kept outside it.

    In sum they stay within the settings' connection window, because both parts can fill up.
    """

    connection: int
    stream: int
    unread: int

    @classmethod
    def of(cls, settings: QuicSettings) -> Windows:
        """Share the settings' windows out between core and buffers."""
        unread = min(UNREAD_LIMIT, settings.connection_window // 2)
        connection = min(settings.connection_window - unread, CORE_CONNECTION_WINDOW)
        return cls(connection, min(settings.stream_window // 2, CORE_STREAM_WINDOW, connection), unread)


def client_configuration(tls_settings: ClientTls, settings: QuicSettings) -> Configuration:
    """Return a client's configuration.

    Raises:
        ConnectFailed: the authorities cannot be read.
    """
    configuration = _configuration(settings, tls_settings.alpn, is_client=True)
    configuration.server_name = tls_settings.server_name
    configuration.post_quantum_only = tls_settings.post_quantum_only
    roots = find_roots(tls_settings.ca_file)
    configuration.load_verify_locations(cafile=roots.path, cadata=roots.extra or None)
    return configuration


def server_configuration(tls_settings: ServerTls, settings: QuicSettings) -> Configuration:
    """Return a server's configuration.

    Raises:
        ConnectFailed: certificate and key cannot be read.
    """
    # Not at the top: a client needs neither, and they cost 10 MB.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    configuration = _configuration(settings, tls_settings.alpn, is_client=False)
    try:
        certificate = x509.load_pem_x509_certificate(tls_settings.certificate_chain)
        key = load_pem_private_key(tls_settings.private_key, password=None)
        configuration.load_cert_chain(tls_settings.certificate_chain, tls_settings.private_key)
    except Exception as exc:  # noqa: BLE001 - the native parsers raise types of their own
        # Without the cause's text: it may quote the key.
        raise ConnectFailed(f"cannot read the server's certificate or key ({type(exc).__name__})") from None
    if certificate.public_key() != key.public_key():
        raise ConnectFailed("the server's certificate and its key do not belong together")
    return configuration


def _configuration(settings: QuicSettings, alpn: str, *, is_client: bool) -> Configuration:
    windows = Windows.of(settings)
    configuration = Configuration(
        alpn_protocols=[alpn],
        connection_id_length=CONNECTION_ID_LENGTH,
        idle_timeout=settings.idle_timeout,
        is_client=is_client,
        max_data=windows.connection,
        max_stream_data=windows.stream,
        max_datagram_size=max(settings.initial_packet_size, 1200),
        max_datagram_frame_size=settings.datagram_frame_size,
        initial_rtt=INITIAL_RTT,
    )
    configuration.incoming_streams = min(settings.incoming_streams, PEER_STREAMS)
    configuration.incoming_unidirectional = settings.incoming_unidirectional
    return configuration
