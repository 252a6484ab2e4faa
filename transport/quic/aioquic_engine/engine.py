"""The aioquic engine: `connect` and `listen` as `transport.quic` offers them. Imported only where aioquic is chosen."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.aioquic_engine.configuration import client_configuration, server_configuration
from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection, Core
from pyconnector.transport.quic.aioquic_engine.listener import AioquicListener
from pyconnector.transport.quic.failures import address_text, follow_routes, handshake_failure, socket_failure
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
    listener = AioquicListener(server_configuration(tls, settings), settings, on_connection)
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
