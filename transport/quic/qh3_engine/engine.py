"""The qh3 engine: `connect` and `listen` as `transport.quic` offers them. Imported only where qh3 is chosen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.failures import address_text, follow_routes, handshake_failure, socket_failure
from pyconnector.transport.quic.qh3_engine.configuration import client_configuration, server_configuration
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.quic.qh3_engine.internals import NativeQuic
from pyconnector.transport.quic.qh3_engine.listener import Qh3Listener
from pyconnector.transport.udp.batched import UdpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.seam import Address, Connection
    from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls
    from pyconnector.transport.udp.batched import Datagram


async def connect(
    address: Address, *, tls: ClientTls, settings: QuicSettings, local_host: str | None, local_port: int
) -> Connection:
    """See `transport.quic.connect`. Cancel leaves neither a socket nor a task behind."""
    configuration = client_configuration(tls, settings)
    connections: list[Qh3Connection] = []
    refusals: list[OSError] = []

    def on_datagrams(datagrams: list[Datagram]) -> None:
        for connection in connections:
            connection.receive([data for data, _ in datagrams], address)

    def on_refused(exc: OSError) -> None:
        for connection in connections:
            # Later it may be forged.
            if not connection.handshake_over.done():
                refusals.append(exc)
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
        raise socket_failure(exc, address, (local_host, local_port)) from exc
    connection = Qh3Connection(NativeQuic(configuration), endpoint, address, settings)
    connection.on_gone = endpoint.close
    connections.append(connection)
    endpoint.on_writable = connection.flush
    endpoint.on_too_large = connection.datagrams_are_too_large
    try:
        connection.start()
        async with asyncio.timeout(settings.handshake_timeout):
            await connection.handshake_over
    except TimeoutError:
        connection.close()
        raise ConnectFailed(f"{address_text(address)} did not answer within {settings.handshake_timeout:g} s") from None
    except BaseException:
        connection.close()
        raise
    if connection.closed is not None:
        raise handshake_failure(connection.closed, address, tls.server_name, refusals)
    if connection.quic.alpn != tls.alpn:
        connection.close()
        raise ConnectFailed(f"{address_text(address)} speaks QUIC but not the tunnel protocol")
    follow_routes(endpoint, connection)
    return connection


async def listen(
    host: str, port: int, *, tls: ServerTls, settings: QuicSettings, on_connection: Callable[[Connection], None]
) -> Qh3Listener:
    """See `transport.quic.listen`. Cancel leaves no socket behind."""
    return await Qh3Listener.open((host, port), server_configuration(tls, settings), settings, on_connection)
