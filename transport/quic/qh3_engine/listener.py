"""The server's side of the qh3 engine: one socket, many connections, told apart by the connection IDs in packets."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from qh3.quic.packet import QuicPacketType, encode_quic_retry, encode_quic_version_negotiation

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.half_open import Admitted, HalfOpen, Retry
from pyconnector.transport.quic.qh3_engine.configuration import CONNECTION_ID_LENGTH, server_configuration
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.quic.qh3_engine.internals import NativeQuic, pull_quic_header
from pyconnector.transport.seam import Listener
from pyconnector.transport.udp.batched import UdpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.quic.qh3_engine.configuration import Configuration
    from pyconnector.transport.seam import Address, Connection
    from pyconnector.transport.settings import QuicSettings, ServerTls
    from pyconnector.transport.udp.batched import Datagram

#: Connections whose handshake is under way (see `half_open`).
HALF_OPEN_LIMIT = 1024
#: First packets are padded to this at least (RFC 9000 14.1).
SMALLEST_INITIAL = 1200
#: Bytes of a connection ID that connections are found by. A client's first choice has at least as many (RFC 9000 7.2).
KEY_LENGTH = CONNECTION_ID_LENGTH


class Qh3Listener(Listener):
    """Hands each connection whose handshake completed to `on_connection`."""

    endpoint: UdpEndpoint

    def __init__(
        self, configuration: Configuration, settings: QuicSettings, on_connection: Callable[[Connection], None]
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._on_connection = on_connection
        self._by_key: dict[bytes, Qh3Connection] = {}
        self._connections: dict[Qh3Connection, set[bytes]] = {}
        self._loop = asyncio.get_running_loop()
        self._half_open: HalfOpen[Qh3Connection] = HalfOpen(
            HALF_OPEN_LIMIT, now=self._loop.time, random=os.urandom, abandon=Qh3Connection.abandon
        )
        self._timers: dict[Qh3Connection, asyncio.TimerHandle] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Qh3Listener {self.address} connections={len(self._connections)} half_open={len(self._half_open)}>"

    @classmethod
    async def open(
        cls,
        address: Address,
        configuration: Configuration,
        settings: QuicSettings,
        on_connection: Callable[[Connection], None],
    ) -> Qh3Listener:
        """Bind and listen. Cancel leaves no socket behind.

        Raises:
            ConnectFailed: the address could not be bound.
        """
        listener = cls(configuration, settings, on_connection)
        try:
            listener.endpoint = await UdpEndpoint.open(
                *address, socket_buffer=settings.socket_buffer, on_datagrams=listener._on_datagrams
            )
        except OSError as exc:
            raise ConnectFailed(f"cannot listen on {address[0]}:{address[1]}: {exc.strerror or exc}") from exc
        listener.endpoint.on_writable = listener._on_writable
        listener.address = listener.endpoint.address
        return listener

    def show(self, tls: ServerTls) -> None:
        """See `Listener.show`."""
        self._configuration = server_configuration(tls, self._settings)

    async def close(self) -> None:
        """See `Listener.close`. Cancel leaves the socket closed: nothing here waits."""
        if self._closed:
            return
        self._closed = True
        for connection in tuple(self._connections):
            connection.close()
            connection.abandon()
        self.endpoint.close()

    def _on_datagrams(self, datagrams: list[Datagram]) -> None:
        """Hand runs of datagrams of one connection from one address over together."""
        run: list[bytes] = []
        current: Qh3Connection | None = None
        source: Address | None = None
        key = b""
        for data, address in datagrams:
            # The short header is the rule: the ID follows its first byte (RFC 9000 17.3).
            this = data[1 : 1 + KEY_LENGTH] if data and data[0] < 0x80 else data[6 : 6 + KEY_LENGTH]
            if this != key or address != source or current is None:
                if run and current is not None and source is not None:
                    current.receive(run, source)
                    run = []
                current = self._by_key.get(this) or self._first_packet(data, address)
                key, source = this, address
            if current is not None:
                run.append(data)
        if run and current is not None and source is not None:
            current.receive(run, source)

    def _first_packet(self, data: bytes, address: Address) -> Qh3Connection | None:
        if len(data) < SMALLEST_INITIAL or self._closed:
            return None
        try:
            header = pull_quic_header(data, 0, CONNECTION_ID_LENGTH)
        except ValueError:
            return None
        version, kind, destination, source = header[0], header[1], header[3], header[4]
        if version is None:
            return None
        if version not in self._configuration.supported_versions:
            self._offer_versions(destination, source, address)
            return None
        if kind != QuicPacketType.INITIAL or not KEY_LENGTH <= len(destination) <= 20:
            return None
        verdict = self._half_open.judge(address, destination, header[5])
        if isinstance(verdict, Retry):
            answer = encode_quic_retry(version, verdict.source, source, destination, verdict.token)
            self.endpoint.send([(answer, address)])
        if not isinstance(verdict, Admitted):
            return None
        return self._make_connection(destination, source, verdict, address)

    def _make_connection(
        self, destination: bytes, source: bytes, admitted: Admitted, address: Address
    ) -> Qh3Connection:
        quic = NativeQuic.for_client(
            self._configuration, admitted.original_destination, source, retry_source=admitted.retry_source
        )
        connection = Qh3Connection(quic, self.endpoint, address, self._settings)
        connection.on_gone = lambda: self._forget(connection)
        connection.on_connection_id = lambda cid, issued: self._connection_id(connection, cid, issued)
        connection.handshake_over.add_done_callback(lambda _: self._established(connection))
        self._connections[connection] = set()
        self._half_open.began(connection, address)
        self._timers[connection] = self._loop.call_later(self._settings.handshake_timeout, connection.abandon)
        self._connection_id(connection, destination, True)
        self._connection_id(connection, quic.host_cid, True)
        return connection

    def _offer_versions(self, destination: bytes, source: bytes, address: Address) -> None:
        versions = self._configuration.supported_versions
        packet = encode_quic_version_negotiation(
            source_cid=destination, destination_cid=source, supported_versions=versions
        )
        self.endpoint.send([(packet, address)])

    def _established(self, connection: Qh3Connection) -> None:
        if self._over(connection) and connection.closed is None:
            self._on_connection(connection)

    def _over(self, connection: Qh3Connection) -> bool:
        """The handshake is over; return whether it was under way until now."""
        self._half_open.ended(connection)
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _connection_id(self, connection: Qh3Connection, cid: bytes, issued: bool) -> None:
        key = cid[:KEY_LENGTH]
        keys = self._connections.get(connection)
        if keys is None:
            return
        if issued:
            self._by_key[key] = connection
            keys.add(key)
        elif self._by_key.get(key) is connection:
            del self._by_key[key]
            keys.discard(key)

    def _forget(self, connection: Qh3Connection) -> None:
        self._over(connection)
        for key in self._connections.pop(connection, ()):
            self._by_key.pop(key, None)

    def _on_writable(self) -> None:
        for connection in tuple(self._connections):
            connection.want_flush()
