"""The server's side of the aioquic engine: one socket, many connections, told apart by their ids (RFC 9000 5.2)."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from aioquic.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.aioquic_engine.configuration import server_configuration
from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection, Core
from pyconnector.transport.quic.aioquic_engine.internals import Buffer
from pyconnector.transport.quic.failures import address_text
from pyconnector.transport.quic.half_open import Admitted, HalfOpen, Retry
from pyconnector.transport.seam import Listener
from pyconnector.transport.udp.batched import UdpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.quic.configuration import QuicConfiguration

    from pyconnector.transport.seam import Address, Connection
    from pyconnector.transport.settings import QuicSettings, ServerTls
    from pyconnector.transport.udp.batched import Datagram

#: Connections whose handshake is under way, at some 100 KB each (see `half_open`).
HALF_OPEN_LIMIT = 256
#: First packets are padded to this at least (RFC 9000 14.1).
SMALLEST_INITIAL = 1200
#: Connections that were closed here of which the farewell is kept, to repeat it to peers that missed it.
FAREWELLS = 256
#: How long a farewell is kept, and how often it is repeated (RFC 9000 10.2.1 wants that limited).
FAREWELL_TIME = 1.0
FAREWELL_REPEATS = 4


class AioquicListener(Listener):
    """Hands each connection whose handshake completed to `on_connection`."""

    def __init__(
        self, configuration: QuicConfiguration, settings: QuicSettings, on_connection: Callable[[Connection], None]
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._on_connection = on_connection
        self._loop = asyncio.get_running_loop()
        self._endpoint: UdpEndpoint | None = None
        self._by_id: dict[bytes, AioquicConnection] = {}
        self._ids: dict[AioquicConnection, set[bytes]] = {}
        self._half_open: HalfOpen[AioquicConnection] = HalfOpen(
            HALF_OPEN_LIMIT, now=self._loop.time, random=os.urandom, abandon=AioquicConnection.close
        )
        self._timers: dict[AioquicConnection, asyncio.TimerHandle] = {}
        self._farewells: dict[bytes, list[bytes]] = {}  # as often as they will be repeated
        self._farewell_timers: set[asyncio.TimerHandle] = set()

    def __repr__(self) -> str:
        return (
            f"<AioquicListener {self.address} connections={len(self._ids)} half_open={len(self._half_open)} "
            f"ids={len(self._by_id)}>"
        )

    async def open(self, host: str, port: int) -> None:
        """Bind and listen. Cancel leaves no socket behind.

        Raises:
            ConnectFailed: the address could not be bound.
        """
        try:
            self._endpoint = await UdpEndpoint.open(
                host, port, socket_buffer=self._settings.socket_buffer, on_datagrams=self._on_datagrams
            )
        except OSError as exc:
            raise ConnectFailed(f"cannot listen on {address_text((host, port))}: {exc.strerror or exc}") from exc
        self.address = self._endpoint.address

    def show(self, tls: ServerTls) -> None:
        """See `Listener.show`."""
        self._configuration = server_configuration(tls, self._settings)

    async def close(self) -> None:
        """See `Listener.close`. Cancel leaves the socket closed: nothing here waits."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is None:
            return
        for connection in tuple(self._ids):
            connection.close()
        for timer in self._farewell_timers:
            timer.cancel()
        self._farewell_timers.clear()
        endpoint.close()

    # -- datagrams -----------------------------------------------------------------------------------------------

    def _on_datagrams(self, datagrams: list[Datagram]) -> None:
        size = self._configuration.connection_id_length
        by_id = self._by_id
        batches: dict[AioquicConnection, list[Datagram]] = {}
        for datagram in datagrams:
            data = datagram[0]
            if not data:
                continue
            if data[0] & 0x80:
                connection = self._for_long_header(datagram)
            else:
                connection = by_id.get(data[1 : 1 + size])
                if connection is None:
                    self._repeat_farewell(data[1 : 1 + size], datagram[1])
            if connection is not None:
                batches.setdefault(connection, []).append(datagram)
        for connection, batch in batches.items():
            connection.datagrams_received(batch)
            if connection in self._half_open:
                connection.abandon_unless_proven()

    def _for_long_header(self, datagram: Datagram) -> AioquicConnection | None:
        """Return the connection of a handshake packet, making one for the first packet of a client."""
        data, address = datagram
        try:
            header = pull_quic_header(Buffer(data=data), self._configuration.connection_id_length)
        except ValueError:
            return None
        connection = self._by_id.get(header.destination_cid)
        if connection is not None or len(data) < SMALLEST_INITIAL or self._endpoint is None:
            return connection
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version != QuicProtocolVersion.VERSION_1:
            versions = list(self._configuration.supported_versions)
            answer = encode_quic_version_negotiation(header.destination_cid, header.source_cid, versions)
            self._endpoint.send([(answer, address)])
            return None
        if header.packet_type is not QuicPacketType.INITIAL:
            return None
        verdict = self._half_open.judge(address, header.destination_cid, header.token)
        if isinstance(verdict, Retry):
            answer = encode_quic_retry(
                header.version, verdict.source, header.source_cid, header.destination_cid, verdict.token
            )
            self._endpoint.send([(answer, address)])
        if not isinstance(verdict, Admitted):
            return None
        return self._make_connection(header.destination_cid, verdict, address, self._endpoint)

    def _make_connection(
        self, first_id: bytes, admitted: Admitted, address: Address, endpoint: UdpEndpoint
    ) -> AioquicConnection:
        core = Core(
            configuration=self._configuration,
            settings=self._settings,
            original_destination_connection_id=admitted.original_destination,
            retry_source_connection_id=admitted.retry_source,
        )
        ids = {first_id, core.host_cid}
        connection = AioquicConnection(
            core,
            (endpoint.address, address),
            self._settings,
            send=endpoint.send,
            on_closed=self._forget,
            on_id=partial(self._on_id, ids),
        )
        connection.udp = endpoint.counts
        for connection_id in ids:
            self._by_id[connection_id] = connection
        self._ids[connection] = ids
        self._half_open.began(connection, address)
        self._timers[connection] = self._loop.call_later(self._settings.handshake_timeout, connection.close)
        connection.established.add_done_callback(partial(self._established, connection))
        return connection

    # -- connections ---------------------------------------------------------------------------------------------

    def _on_id(self, ids: set[bytes], connection_id: bytes, in_use: bool) -> None:
        if in_use:
            connection = self._by_id[next(iter(ids))]
            ids.add(connection_id)
            self._by_id[connection_id] = connection
        elif len(ids) > 1:
            ids.discard(connection_id)
            self._by_id.pop(connection_id, None)

    def _established(self, connection: AioquicConnection, outcome: asyncio.Future[bool]) -> None:
        self._half_open.ended(connection)
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if outcome.result() and connection.closed is None:
            self._on_connection(connection)

    def _forget(self, connection: AioquicConnection) -> None:
        ids = self._ids.pop(connection, set())
        farewell = connection.farewell
        for connection_id in ids:
            self._by_id.pop(connection_id, None)
        if farewell is not None and self._endpoint is not None and len(self._farewells) < FAREWELLS:
            self._keep_farewell(ids, farewell)

    def _keep_farewell(self, ids: set[bytes], farewell: bytes) -> None:
        self._farewells.update(dict.fromkeys(ids, [farewell] * FAREWELL_REPEATS))

        def drop() -> None:
            self._farewell_timers.discard(timer)
            for connection_id in ids:
                self._farewells.pop(connection_id, None)

        timer = self._loop.call_later(FAREWELL_TIME, drop)
        self._farewell_timers.add(timer)

    def _repeat_farewell(self, connection_id: bytes, address: Address) -> None:
        repeats = self._farewells.get(connection_id)
        if repeats and self._endpoint is not None:
            self._endpoint.send([(repeats.pop(), address)])
