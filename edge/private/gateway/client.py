"""One TCP connection of a gateway client: its handshake, the judgement, then bytes both ways.

Who stalls, sends too much or speaks something else is cut off; every request for a flow leaves one record.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import TYPE_CHECKING, Final, cast

from pyconnector.edge.private.gateway.associate import Association
from pyconnector.edge.private.gateway.counted import Counted
from pyconnector.edge.private.gateway.flows import reach
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason, FlowRecord
from pyconnector.edge.private.gateway.udp_tunnel import UdpTunnel
from pyconnector.edge.visitors.sockets import VisitorSocket, Why, reset_connection
from pyconnector.edge.visitors.tcp.two_way import TwoWay
from pyconnector.protocol.capsules import encode_udp_capsule
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.handshake import (
    AccessToken,
    Associate,
    Connect,
    Credentials,
    Event,
    Handshake,
    HandshakeError,
    Verdict,
)

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.gateway.server import Gateway

#: Seconds for the handshake.
HANDSHAKE_TIMEOUT: Final = 10.0
#: Seconds that a client has to take what was sent to it before its connection is closed.
FLUSH_TIMEOUT: Final = 5.0

_log = logging.getLogger("pyconnector.edge")


class GatewayClient(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, owner: Gateway, handshake: Handshake, onramp: str) -> None:
        self._owner = owner
        self._handshake = handshake
        self._onramp = onramp
        self._task: asyncio.Task[None] | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._data = b""
        self._ended = False
        self._lost = False
        self._far_ended = False
        self._associated = False
        self._two_way: TwoWay | None = None
        self._cut: tuple[CloseReason, str] | None = None
        self._flush_limit: asyncio.TimerHandle | None = None
        self.record: FlowRecord

    def __repr__(self) -> str:
        return f"<GatewayClient {self._onramp} {self._handshake!r}>"

    # -- the socket ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = VisitorSocket(self._transport)
        peer = self._transport.get_extra_info("peername") or ("", 0)
        self.record = self._owner.new_record(self._onramp, (str(peer[0]), int(peer[1])))
        if self._owner.joined(self):
            self._task = self._owner.tasks.start(self._serve(), "edge gateway client")
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client: for the handshake, then for the destination."""
        if self._two_way is not None:
            self._two_way.visitor_data(data)
            return
        self._data += data
        self._socket.pause_reading(Why.AHEAD)  # one read at a time
        self._wake()

    def eof_received(self) -> bool:
        """The client sends no more, but may still receive."""
        self._ended = True
        if self._two_way is not None:
            self._two_way.visitor_ended()
        self._wake()
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._lost = True
        self._owner.left(self)
        self._socket.writing.resume()
        if self._flush_limit is not None:
            self._flush_limit.cancel()
        if self._two_way is not None:
            self._two_way.visitor_lost()
        if self._task is not None:
            self._task.cancel()
        self._wake()

    def pause_writing(self) -> None:
        """The client takes less than comes."""
        self._socket.writing.pause()

    def resume_writing(self) -> None:
        """The client took enough."""
        self._socket.writing.resume()

    def abort(self) -> None:
        """Cut the client off."""
        reset_connection(self._transport)

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        self._cut = (reason, detail)
        self.abort()

    # -- the conversation ----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        exchange: Exchange | None = None
        ended = False
        begun = False
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                request = await self._request()
            begun = True
            if isinstance(request, Associate):
                await self._associate()
                ended = True
                return
            self.record.protocol = request.protocol
            if request.protocol == "udp":
                ended = await self._carry_udp(request)
                return
            exchange = await reach(self._owner, self, request)
            ended = await self._join(exchange)
        except Refused as refused:
            begun = True
            note_refusal(self.record, refused)
            self._say(self._handshake.answer(refused.verdict, str(refused)))
            ended = True
        except HandshakeError as error:
            _log.debug("Rejected a gateway client at %s: %s", self.record.source[0], error)
            self._say(error.answer)
            ended = True
        except TimeoutError:
            pass  # the handshake took too long
        finally:
            self._close(ended)
            self._owner.judge.ended(self)
            if self._cut is not None:
                self.record.reason, self.record.detail = self._cut
            if begun and not self._associated:
                if self.record.reason is CloseReason.UNKNOWN and self._lost:
                    self.record.reason = CloseReason.CLIENT_CLOSED
                self._owner.records.write(self.record)

    async def _request(self) -> Connect | Associate:
        known = False
        while True:
            event = await self._next_event()
            if isinstance(event, Credentials | AccessToken):
                self.record.virtual_network = event.virtual_network
                try:
                    self._owner.judge.authenticate(event, self.record)
                except Refused as refused:
                    note_refusal(self.record, refused)
                    asked = self._handshake.feed(b"")  # HTTP said it in the same head
                    if isinstance(asked, Connect):
                        self.record.wanted = (asked.host, asked.port)
                    self._owner.records.write(self.record)
                    raise HandshakeError(str(refused), self._handshake.refused(refused.verdict, str(refused))) from None
                known = True
                self._say(self._handshake.authenticated())
            elif not known:
                raise HandshakeError("the client asks before it says who it is")
            else:
                return event

    async def _next_event(self) -> Event:
        while True:
            data, self._data = self._data, b""
            event = self._handshake.feed(data)
            self._say(self._handshake.bytes_to_send())
            if event is not None:
                return event
            if self._data:
                continue
            if self._is_over:
                raise HandshakeError("the client left in the middle of its handshake")
            self._data = await self._next_data()

    async def _join(self, exchange: Exchange) -> bool:
        self._say(self._handshake.answer(Verdict.GRANTED, bound=("0.0.0.0", 0)))
        counted = Counted(self.record)
        two_way = TwoWay(self._socket, exchange, self._owner.tasks, self._owner.turns, counted)
        self._two_way = two_way
        self._socket.resume_reading()
        if early := self._handshake.leftover + self._data:
            self._data = b""
            two_way.visitor_data(early)
        if self._ended:
            two_way.visitor_ended()
        ended = await two_way.run(exchange.leftover)
        if self._lost:
            self.record.reason = CloseReason.CLIENT_CLOSED if ended else CloseReason.CLIENT_ERROR
        elif ended:
            self.record.reason = CloseReason.CLIENT_CLOSED if counted.client_ended_first else CloseReason.ORIGIN_CLOSED
        else:
            self.record.reason = CloseReason.ORIGIN_ERROR
        return ended

    async def _associate(self) -> None:
        """Carry UDP until the client closes this connection (RFC 1928 section 7)."""
        host = str((self._transport.get_extra_info("sockname") or ("127.0.0.1",))[0])
        self.record.protocol = "udp"
        if not ipaddress.ip_address(host).is_loopback and not self._owner.udp_everywhere:
            raise Refused(Verdict.FORBIDDEN, CloseReason.REFUSED, "UDP ASSOCIATE is served on loopback only.")
        association = Association(self._owner, self.record, self.record.virtual_network)
        try:
            bound = association.open(host)
            self._associated = True  # whose flows have records of their own
            self._say(self._handshake.answer(Verdict.GRANTED, bound=bound))
            while await self._next_data():
                pass
        finally:
            association.close()

    async def _carry_udp(self, request: Connect) -> bool:
        """Carry the capsules of CONNECT-UDP (RFC 9298) until either side ends it."""
        tunnel = UdpTunnel(self._owner, self, self._send_udp, self._udp_ended)
        try:
            await tunnel.open(request)
            self._say(self._handshake.answer(Verdict.GRANTED))
            data, self._data = self._handshake.leftover + self._data, b""
            while data or not self._is_over:
                await tunnel.feed(data)
                data = await self._next_data()
                if not data:
                    break
            if self.record.reason is CloseReason.UNKNOWN:
                self.record.reason = CloseReason.CLIENT_CLOSED
        except ProtocolError as error:
            self.record.reason, self.record.detail = CloseReason.CLIENT_ERROR, str(error)
            return False
        finally:
            tunnel.close()
        return True

    @property
    def _is_over(self) -> bool:
        return self._ended or self._lost or self._far_ended

    def _send_udp(self, payload: bytes) -> bool:
        if self._socket.writing.paused or self._transport.is_closing():
            return False
        self._transport.write(encode_udp_capsule(payload))
        return True

    def _udp_ended(self, reason: CloseReason, detail: str) -> None:
        self.record.reason, self.record.detail = reason, detail
        self._far_ended = True
        self._wake()

    async def _next_data(self) -> bytes:
        """Return what arrives next, or b"" at the end. Cancel at any time."""
        while not self._data and not self._is_over:
            self._socket.resume_reading()
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        data, self._data = self._data, b""
        return data

    def _say(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _close(self, ended: bool) -> None:
        if not ended:
            self.abort()
        elif not self._transport.is_closing():
            self._transport.close()
            self._flush_limit = asyncio.get_running_loop().call_later(FLUSH_TIMEOUT, self._transport.abort)
