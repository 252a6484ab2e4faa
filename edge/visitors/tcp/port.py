"""A local TCP port whose connections go to one destination: a `tcp://` hostname by WebSocket, or IP:port by itself.

A visitor's bytes go on only once the far end is reached; until then the socket is not read, so little waits here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, cast

from pyconnector.edge.connectors.exchange import Broken, Exchange, NoTunnel, Refused, TunnelRequest, open_exchange
from pyconnector.edge.listener import Listener
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.visitors.identity import VisitorIdentity
from pyconnector.edge.visitors.sockets import VisitorSocket, Why, reset_connection
from pyconnector.edge.visitors.tcp.two_way import Carriage, Plain, TwoWay
from pyconnector.edge.visitors.tcp.websocket_client import WebSocketCarriage, handshake_headers
from pyconnector.edge.visitors.watch import CLIENT_CLOSED, ORIGIN_CLOSED, UNREACHABLE
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.web.websocket.handshake import accept_value, new_key

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import TunnelResponse
    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.edge.settings import TcpPort
    from pyconnector.edge.visitors.server import VisitorServer
    from pyconnector.edge.visitors.watch import Watched

#: Seconds until the far end must have answered.
CONNECT_TIMEOUT = 30.0
#: Seconds that the last bytes have to leave, once both directions are over.
FLUSH_TIMEOUT = 30.0
#: TCP visitors of one port at once.
MAX_VISITORS = 10_000
#: Seconds in which one reason to turn visitors away is logged once, and reasons that are remembered.
SAY_EVERY, MAX_REASONS = 60.0, 16

_log = logging.getLogger("pyconnector.edge")

#: Statuses of a refusal to let somebody in.
_REFUSED = frozenset({401, 403})


class TcpVisitors:
    """The listener of one port and its visitors."""

    def __init__(self, settings: TcpPort, http: VisitorServer) -> None:
        """`http` serves the same edge's other visitors: what holds for them holds here."""
        self.settings = settings
        self.tasks = TaskSet()
        self.turns = http.turns
        self.port = settings.port
        self._http = http
        self._tunnels = http.tunnels
        self._visitors: set[TcpVisitor] = set()
        self._said: dict[str, float] = {}
        self._listener = Listener(lambda: TcpVisitor(self), f"visitors of TCP port {settings.port}")

    def __repr__(self) -> str:
        return f"<TcpVisitors port={self.port} to={self.settings.destination} visitors={len(self._visitors)}>"

    async def start(self) -> int:
        """Listen, and return the port. Cancel leaves nothing open.

        Raises:
            OSError: the port is taken.
        """
        _, self.port = await self._listener.start(self._http.settings.address[0], self.settings.port)
        return self.port

    @property
    def busy(self) -> int:
        """Visitors who are here."""
        return len(self._visitors)

    def drain(self) -> None:
        """Accept no visitor any more. Idempotent."""
        self._listener.close()

    async def close(self) -> None:
        """Stop listening and cut every visitor off. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        self._listener.close()
        await self._listener.wait_closed()
        for visitor in tuple(self._visitors):
            visitor.abort()
        await self.tasks.cancel_all()

    def joined(self, visitor: TcpVisitor) -> bool:
        """Count a new visitor; False where there are too many."""
        self._visitors.add(visitor)
        return len(self._visitors) <= MAX_VISITORS

    def left(self, visitor: TcpVisitor) -> None:
        """A visitor is gone."""
        self._visitors.discard(visitor)

    def say_rejected(self, reason: str) -> None:
        """Log why a visitor is turned away; a reason that was told a moment ago is for the debug log alone."""
        now = asyncio.get_running_loop().time()
        is_new = now - self._said.get(reason, -SAY_EVERY) >= SAY_EVERY
        if is_new:
            if len(self._said) >= MAX_REASONS:
                self._said.clear()
            self._said[reason] = now
        level = logging.WARNING if is_new else logging.DEBUG
        _log.log(level, "Rejected a client of TCP port %d: %r", self.port, reason)

    def judge(self, address: str) -> Watched | None:
        """Judge who comes from `address`; None where there is nothing to judge. Nobody shows who they are here."""
        watch = self._http.watch
        if watch is None or not watch.on or (self.settings.is_address and watch.audit is None):
            return None
        return watch.tcp(self.settings.destination, address, self._http.rays.next_ray())

    async def open(self, address: str, watched: Watched | None = None) -> tuple[Exchange, Carriage]:
        """Reach the destination for the visitor at `address`. Cancel leaves nothing open.

        Raises:
            NoTunnel: nobody is there to serve it.
            Broken: it cannot be reached.
        """
        if self.settings.is_address:
            request = TunnelRequest(kind=ConnectionType.TCP, destination=self.settings.destination)
            tunnel = self._tunnel_for_address()
            exchange = await open_exchange(tunnel, request)
            await _answer(exchange, tunnel, watched)
            return exchange, Plain()
        name = self.settings.destination
        key = new_key(os.urandom)
        headers = handshake_headers(key)
        if self._http.settings.identity:
            headers = VisitorIdentity(address).add_to(headers, self._http.rays.next_ray())
        head = RequestHead("GET", name, "/", headers)
        request = TunnelRequest(kind=ConnectionType.WEBSOCKET, head=head)
        tunnel = self._tunnels.for_host(name)
        exchange = await open_exchange(tunnel, request)
        response = await _answer(exchange, tunnel, watched)
        accepted = [value for header, value in response.headers if header == b"Sec-Websocket-Accept"]
        if response.status != 101 or accepted != [accept_value(key)]:
            exchange.abort()
            if response.status in _REFUSED:
                raise Broken(
                    f"A TCP visitor of {name} was refused (status {response.status}): a rule that requires access asks "
                    "for a token, and over a TCP port there is none."
                )
            raise Broken(
                f"The service behind {name} takes no WebSocket, as a TCP visitor needs it (status {response.status})."
            )
        return exchange, WebSocketCarriage(os.urandom)

    def _tunnel_for_address(self) -> Tunnel | None:
        wanted = self.settings.tunnel_id
        if wanted is not None:
            return self._tunnels.get(wanted)
        tunnels = self._tunnels.all()
        return tunnels[0] if len(tunnels) == 1 else self._tunnels.for_addresses()


async def _answer(exchange: Exchange, tunnel: Tunnel | None, watched: Watched | None) -> TunnelResponse:
    try:
        if watched is None:
            return await exchange.response()
        watched.opened(exchange, tunnel, 0)
        response = await exchange.response()
        watched.answered(response.status, exchange)
        return response
    except Refused as exc:
        exchange.abort()
        raise Broken(str(exc)) from exc
    except BaseException:
        exchange.abort()
        raise


class TcpVisitor(asyncio.Protocol):
    """One TCP connection of a visitor."""

    def __init__(self, owner: TcpVisitors) -> None:
        self._owner = owner
        self._two_way: TwoWay | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._early_end = False
        self._flush_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor came: reach its destination before anything is read."""
        # Not asked with isinstance: uvloop's transports are no subclass.
        self._transport = cast("asyncio.Transport", transport)
        self._socket = VisitorSocket(self._transport)
        if self._owner.joined(self):
            self._task = self._owner.tasks.start(self._serve(), "edge tcp visitor")
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the visitor."""
        if self._two_way is not None:
            self._two_way.visitor_data(data)
        else:
            # One read, to notice a visitor who leaves; what it says first waits for the far end.
            self._early += data
            self._socket.pause_reading(Why.AHEAD)

    def eof_received(self) -> bool:
        """The visitor sends no more, but may still receive."""
        if self._two_way is not None:
            self._two_way.visitor_ended()
        self._early_end = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._owner.left(self)
        self._socket.writing.resume()
        if self._flush_limit is not None:
            self._flush_limit.cancel()
        if self._two_way is not None:
            self._two_way.visitor_lost()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The visitor takes less than comes."""
        self._socket.writing.pause()

    def resume_writing(self) -> None:
        """The visitor took enough."""
        self._socket.writing.resume()

    def abort(self) -> None:
        """Cut the visitor off."""
        reset_connection(self._transport)

    async def _serve(self) -> None:
        peer = self._transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        watched = self._owner.judge(address)
        if watched is None:
            await self._carry(address)
            return
        try:
            if watched.answer is not None:
                self._owner.say_rejected(watched.answer.sentence)
                self.abort()
            else:
                watched.begin(self.abort)
                await self._carry(address, watched)
        except asyncio.CancelledError:
            watched.close_reason = watched.close_reason or CLIENT_CLOSED
            raise
        finally:
            watched.end()

    async def _carry(self, address: str, watched: Watched | None = None) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                exchange, carriage = await self._owner.open(address, watched)
        except (NoTunnel, Broken, TimeoutError) as exc:
            reason = str(exc) or "no tunnel is connected, or it did not answer"
            self._owner.say_rejected(reason)
            if watched is not None:
                watched.close_reason = UNREACHABLE
            self.abort()
            return
        ended = False
        try:
            ended = await self._join(exchange, carriage)
            if watched is not None:
                watched.close_reason = watched.close_reason or ORIGIN_CLOSED
        finally:
            if ended:
                self._transport.close()
                self._flush_limit = asyncio.get_running_loop().call_later(FLUSH_TIMEOUT, self._transport.abort)
            else:
                self.abort()

    async def _join(self, exchange: Exchange, carriage: Carriage) -> bool:
        owner = self._owner
        two_way = self._two_way = TwoWay(self._socket, exchange, owner.tasks, owner.turns, carriage)
        if self._early:
            self._socket.resume_reading()  # first, for what follows may stop it again
            two_way.visitor_data(bytes(self._early))
            self._early.clear()
        if self._early_end:
            two_way.visitor_ended()
        return await two_way.run(exchange.leftover)
