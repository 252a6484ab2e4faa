"""The other edges as members of tunnels: which holds what, and a connection to each that is asked."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

from pyconnector.edge.connectors.http2.exchange import open_http2_exchange
from pyconnector.edge.mesh.exchange import TUNNEL, PeerExchange
from pyconnector.edge.mesh.flows import PeerLink
from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.http2 import Http2Connection, Http2Settings, Http2Socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.directory.values import PeerEntry
    from pyconnector.protocol.http.http2_form import Fields
    from pyconnector.transport.http2 import Http2Stream

#: The name that every edge's certificate has.
SERVER_NAME = "h2.cftunnel.com"
#: Seconds to reach another edge, and until one that could not be reached is tried again.
DIAL_TIMEOUT, AWAY = 2.0, 1.0
#: A silent edge is given up within 3 s.
SETTINGS = Http2Settings(max_streams=0, max_header_list=512 * 1024, keepalive=1.0, idle_timeout=3.0)

_log = logging.getLogger("pyconnector.edge")


class Peer:
    """One other edge."""

    def __init__(
        self, entry: PeerEntry, context: ssl.SSLContext, later: Callable[[Callable[[], None]], object]
    ) -> None:
        self.entry = entry
        self.in_flight = 0
        self._context = context
        self._later = later
        self._connection: Http2Connection | None = None
        self._dialling: asyncio.Task[Http2Connection] | None = None
        self._away_until = 0.0

    def __repr__(self) -> str:
        return f"<Peer {self.entry.address} in_flight={self.in_flight}>"

    @property
    def is_away(self) -> bool:
        """Whether it could not be reached a moment ago."""
        return asyncio.get_running_loop().time() < self._away_until

    async def connection(self) -> Http2Connection:
        """Return a connection, opened where there is none. Cancel leaves it opening for others.

        Raises:
            ConnectionClosed: it cannot be reached.
        """
        if self._connection is not None and self._connection.closed is None:
            return self._connection
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.get_running_loop().create_task(self._dial(), name="edge dials a peer")
            self._dialling.add_done_callback(_looked_at)
        return await asyncio.shield(self._dialling)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._dialling is not None:
            self._dialling.cancel()
        if self._connection is not None:
            self._connection.close(0, "the edge is no longer in the mesh, or this one stops")

    async def _dial(self) -> Http2Connection:
        loop = asyncio.get_running_loop()
        host, _, port = self.entry.address.rpartition(":")
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                _, made = await loop.create_connection(
                    lambda: Http2Socket(client=True, settings=SETTINGS, later=self._later),
                    host.strip("[]"), int(port), ssl=self._context, server_hostname=SERVER_NAME,
                    ssl_handshake_timeout=DIAL_TIMEOUT,
                )  # fmt: skip
        except (OSError, TimeoutError, ValueError) as error:
            self._away_until = loop.time() + AWAY
            reason = str(error) or type(error).__name__
            _log.warning("The edge at %s cannot be reached: %s", self.entry.address, reason)
            raise ConnectionClosed(f"the edge at {self.entry.address} cannot be reached") from error
        assert made.connection is not None
        self._connection = made.connection
        return made.connection


class PeerMember:
    """One other edge, for one tunnel: a `Member` that is asked where no connector is connected here."""

    def __init__(self, peer: Peer, tunnel_id: UUID) -> None:
        self._peer = peer
        self._tunnel_id = tunnel_id

    @property
    def in_flight(self) -> int:
        """Requests that this edge has sent to that one."""
        return self._peer.in_flight

    @in_flight.setter
    def in_flight(self, number: int) -> None:
        self._peer.in_flight = number

    @property
    def datagrams(self) -> PeerLink:
        """What carries a UDP flow of the tunnel by way of that edge: a new one for each."""
        return PeerLink(self._peer, self._tunnel_id)

    @property
    def registration(self) -> NoReturn:
        """There is none: whose connector serves it is the other edge's choice."""
        raise RuntimeError("another edge has not registered here")

    async def open(self, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """See `Member.open`. Cancel leaves nothing behind."""
        connection = await self._peer.connection()
        named = _Named(connection, self._tunnel_id)
        exchange = await open_http2_exchange(self, named, request, body=body, finish=finish, form_of=PeerExchange)
        if finish and isinstance(exchange, PeerExchange):
            # It is whole, so it can go to another edge where this one has just lost its connections.
            try:
                if not await exchange.is_taken():
                    raise ConnectionClosed("the other edge lost its connections of the tunnel")
            except BaseException:
                exchange.abort()
                raise
        return exchange


class _Named:
    """A connection whose requests name a tunnel."""

    def __init__(self, connection: Http2Connection, tunnel_id: UUID) -> None:
        self._connection = connection
        self._field = (TUNNEL, str(tunnel_id).encode("ascii"))

    async def open_request(self, head: Fields, *, end: bool = False) -> Http2Stream:
        return await self._connection.open_request([*head, self._field], end=end)


class Peers:
    """All other edges, by what they hold."""

    def __init__(self, context: ssl.SSLContext, later: Callable[[Callable[[], None]], object]) -> None:
        self._context = context
        self._later = later
        self._by_id: dict[str, Peer] = {}
        self._by_tunnel: dict[UUID, list[Peer]] = {}

    def __repr__(self) -> str:
        return f"<Peers {len(self._by_id)} edges, {len(self._by_tunnel)} tunnels>"

    def learn(self, entries: Iterable[PeerEntry]) -> None:
        """Be as the control plane says."""
        found: dict[str, Peer] = {}
        tunnels: dict[UUID, list[Peer]] = {}
        for entry in entries:
            peer = self._by_id.pop(entry.id, None)
            if peer is None or peer.entry.address != entry.address:
                if peer is not None:
                    peer.close()
                peer = Peer(entry, self._context, self._later)
            peer.entry = entry
            found[entry.id] = peer
            for tunnel_id in entry.tunnels:
                tunnels.setdefault(tunnel_id, []).append(peer)
        gone, self._by_id, self._by_tunnel = self._by_id, found, tunnels
        for peer in gone.values():
            peer.close()

    def holding(self, tunnel_id: UUID) -> list[PeerMember]:
        """Return the edges that hold a tunnel's connections: the least busy first, last who drains or is away."""

        def order(peer: Peer) -> tuple[bool, bool, int]:
            return peer.is_away, peer.entry.draining, peer.in_flight

        return [PeerMember(peer, tunnel_id) for peer in sorted(self._by_tunnel.get(tunnel_id, ()), key=order)]

    def stays_at_another(self, tunnel_id: UUID) -> bool:
        """Return whether an edge that does not drain holds connections of a tunnel."""
        return any(not peer.entry.draining for peer in self._by_tunnel.get(tunnel_id, ()))

    @property
    def staying(self) -> int:
        """The other edges that do not drain."""
        return sum(not peer.entry.draining for peer in self._by_id.values())

    def close(self) -> None:
        """Close every connection. Idempotent."""
        self.learn(())


def _looked_at(task: asyncio.Task[Http2Connection]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waited was told
