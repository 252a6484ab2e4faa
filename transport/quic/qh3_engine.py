"""The qh3 engine: `connect` and `listen` as `transport.quic` offers them. Imported only where qh3 is chosen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from transport.errors import ConnectFailed
from transport.quic.qh3_connection import Qh3Connection
from transport.quic.qh3_listener import Qh3Listener
from transport.quic.qh3_native import NativeQuic, client_configuration, server_configuration
from transport.udp import UdpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.seam import Address, Connection
    from transport.settings import ClientTls, QuicSettings, ServerTls
    from transport.udp import Datagram

#: Alerts that say that the certificate was the cause (RFC 8446 6.2): bad, unsupported, revoked, expired, unknown, CA.
_CERTIFICATE_ALERTS = frozenset((42, 43, 44, 45, 46, 48))
_CRYPTO_ERROR = 0x100


async def connect(
    address: Address, *, tls: ClientTls, settings: QuicSettings, local_host: str | None, local_port: int
) -> Connection:
    """See `transport.quic.connect`. Cancel leaves neither a socket nor a task behind."""
    configuration = client_configuration(tls, settings)
    refused = asyncio.Event()
    connections: list[Qh3Connection] = []

    def on_datagrams(datagrams: list[Datagram]) -> None:
        for connection in connections:
            connection.receive([data for data, _ in datagrams], address)

    def on_refused() -> None:
        for connection in connections:
            if not connection.handshake_over.done():
                refused.set()
                connection.abandon()

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
        raise ConnectFailed(f"cannot send to {_text(address)}: {exc.strerror or exc}") from exc
    connection = Qh3Connection(NativeQuic(configuration), endpoint, address, settings)
    connection.on_gone = endpoint.close
    connections.append(connection)
    endpoint.on_writable = connection.flush
    try:
        connection.start()
        async with asyncio.timeout(settings.handshake_timeout):
            await connection.handshake_over
    except TimeoutError:
        connection.abandon()
        raise ConnectFailed(f"{_text(address)} did not answer within {settings.handshake_timeout:g} s") from None
    except BaseException:
        connection.abandon()
        raise
    if connection.closed is not None:
        raise _why(connection, address, refused=refused.is_set())
    if connection.quic.alpn != tls.alpn:
        connection.close()
        raise ConnectFailed(f"{_text(address)} does not speak {tls.alpn}")
    return connection


async def listen(
    host: str, port: int, *, tls: ServerTls, settings: QuicSettings, on_connection: Callable[[Connection], None]
) -> Qh3Listener:
    """See `transport.quic.listen`. Cancel leaves no socket behind."""
    return await Qh3Listener.open((host, port), server_configuration(tls, settings), settings, on_connection)


def _why(connection: Qh3Connection, address: Address, *, refused: bool) -> ConnectFailed:
    info = connection.closed
    if refused or info is None:
        return ConnectFailed(f"nothing listens at {_text(address)}")
    if info.idle:
        return ConnectFailed(f"{_text(address)} did not answer")
    alert = info.code - _CRYPTO_ERROR
    if info.local and alert in _CERTIFICATE_ALERTS:
        return ConnectFailed(f"the certificate of {_text(address)} is not trusted: {info.reason}", untrusted=True)
    return ConnectFailed(f"{_text(address)} ended the handshake: {info.reason or f'error {info.code:#x}'}")


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
