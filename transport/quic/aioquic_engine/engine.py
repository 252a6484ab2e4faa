"""The aioquic engine: `connect` and `listen` as `transport.quic` offers them. Imported only where aioquic is chosen."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pyconnector.transport.congestion.registry import BBR, register
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection, Core
from pyconnector.transport.quic.aioquic_engine.listener import AioquicListener
from pyconnector.transport.quic.failures import address_text, follow_routes, handshake_failure, socket_failure
from pyconnector.transport.tls.edge_roots import find_roots
from pyconnector.transport.udp.batched import UdpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.seam import Address, Connection
    from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls
    from pyconnector.transport.udp.batched import Datagram

#: Smallest that QUIC allows (RFC 9000 14).
SMALLEST_PACKET = 1200
#: Guess of the round trip before the first answer (RFC 9002 6.2.2 proposes 333 ms; quic-go uses 100 ms).
INITIAL_ROUND_TRIP = 0.1
_CIPHERS = (
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
)


async def connect(
    address: Address, *, tls: ClientTls, settings: QuicSettings, local_host: str | None, local_port: int
) -> Connection:
    """See `transport.quic.connect`. Cancel leaves neither a socket nor a task behind."""
    configuration = _client_configuration(tls, settings)
    address = await _numeric(address)
    connections: list[AioquicConnection] = []
    refusals: list[OSError] = []

    def on_datagrams(datagrams: list[Datagram]) -> None:
        for connection in connections:
            connection.datagrams_received(datagrams)

    def on_refused(exc: OSError) -> None:
        refusals.append(exc)
        for connection in tuple(connections):
            connection.refused()

    def on_closed(_: AioquicConnection) -> None:
        connections.clear()
        endpoint.close()

    try:
        endpoint = await UdpEndpoint.open(
            local_host or "",
            local_port,
            socket_buffer=settings.socket_buffer,
            on_datagrams=on_datagrams,
            remote=address,
            on_refused=on_refused,
        )
    except OSError as exc:
        raise socket_failure(exc, address, (local_host, local_port)) from exc
    core = Core(configuration=configuration, settings=settings, hybrid_only=tls.post_quantum_only)
    connection = AioquicConnection(core, (endpoint.address, address), settings, send=endpoint.send, on_closed=on_closed)
    connection.udp = endpoint.counts
    connections.append(connection)
    endpoint.on_too_large = connection.datagrams_are_too_large
    try:
        connection.connect()
        async with asyncio.timeout(settings.handshake_timeout):
            await connection.established
    except TimeoutError:
        connection.close()
        raise ConnectFailed(f"{address_text(address)} did not answer within {settings.handshake_timeout:g} s") from None
    except BaseException:
        connection.close()
        raise
    if connection.closed is not None:
        raise handshake_failure(connection.closed, address, tls.server_name, refusals)
    follow_routes(endpoint, connection)
    return connection


async def listen(
    host: str, port: int, *, tls: ServerTls, settings: QuicSettings, on_connection: Callable[[Connection], None]
) -> AioquicListener:
    """See `transport.quic.listen`. Cancel leaves no socket behind."""
    listener = AioquicListener(_server_configuration(tls, settings), settings, on_connection)
    await listener.open(host, port)
    return listener


async def _numeric(address: Address) -> Address:
    """Return `address` as the system writes it where datagrams come from."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host)), port
    except OSError:
        loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as exc:
        raise ConnectFailed(f"cannot resolve {host}: {exc.strerror or exc}") from exc
    return str(found[0][4][0]), port


def _client_configuration(tls: ClientTls, settings: QuicSettings) -> QuicConfiguration:
    configuration = _configuration(settings, tls.alpn, is_client=True)
    roots = find_roots(tls.ca_file)
    configuration.server_name = tls.server_name
    configuration.load_verify_locations(cafile=roots.path, cadata=roots.extra or None)
    return configuration


def _server_configuration(tls: ServerTls, settings: QuicSettings) -> QuicConfiguration:
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
