"""One stream of a gateway's client, over HTTP/2 or HTTP/3, from its head to its record: a flow of its own (RFC 9113
8.5, RFC 9114 4.4, RFC 9298), or what extends CONNECT otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from pyconnector.edge.connectors.exchange import PIECE
from pyconnector.edge.private.gateway.client import HANDSHAKE_TIMEOUT
from pyconnector.edge.private.gateway.flows import reach
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.gateway.udp_tunnel import UdpTunnel
from pyconnector.protocol.capsules import encode_udp_capsule
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.handshake import Extended, Verdict
from pyconnector.protocol.proxying.proxy_request import CAPSULES, BadProxyRequest, read_http2, refusal_of
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.protocol.proxying.handshake import Connect
    from pyconnector.transport.http2 import Http2Stream
    from pyconnector.transport.http3 import Http3Stream

#: What serves an extended CONNECT: from here on the stream is its own, until it returns or raises, as a flow may.
Extension: TypeAlias = "Callable[[StreamFlow, Extended], Awaitable[None]]"
_OK: Final = (b":status", b"200")
#: Context id 0, which stands before a UDP payload (RFC 9298 5).
_UDP_CONTEXT: Final = b"\0"


class FlowClient(Hashable, Protocol):
    """The connection that a stream belongs to."""

    source: tuple[str, int]

    def ended(self, *, taken_back: bool) -> None:
        """A flow is over, perhaps because the client took it back."""


class StreamFlow:
    """One stream of a client. `owner`, `stream` and `record` are for what extends CONNECT."""

    task: asyncio.Task[None]

    def __init__(self, owner: Gateway, client: FlowClient, stream: Http2Stream | Http3Stream, onramp: str) -> None:
        self.owner = owner
        self.stream = stream
        self._client = client
        self._broken: ProtocolError | None = None
        self._cut: tuple[CloseReason, str] | None = None
        self._far_ended: tuple[CloseReason, str] | None = None
        self._known = False  # whether it is known who asks, and so worth a record
        self._full = False
        self._gone = False
        self.record = owner.new_record(onramp, client.source)

    def __repr__(self) -> str:
        return f"<StreamFlow {self.stream.stream_id} of {self._client!r}>"

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        self._cut = (reason, detail)
        self.stream.reset()
        self.task.cancel()

    async def run(self) -> None:
        """Serve the stream. Cancel resets it."""
        self.stream.set_abort_callback(self._aborted)
        whole = False
        try:
            await self._serve()
            whole = True
        except Refused as refused:
            note_refusal(self.record, refused)
            whole = self._refuse(refused.verdict, str(refused))
        except BadProxyRequest as error:
            whole = self._refuse(Verdict.FAILED, str(error))
        except ProtocolError as error:
            self.record.reason, self.record.detail = CloseReason.CLIENT_ERROR, str(error)
        except (TransportError, TimeoutError):
            self._gone = True  # before its destination was reached, or its head was there
        finally:
            self.stream.set_abort_callback(None)
            if not whole:
                self.stream.reset()
            self.stream.stop()
            self.owner.judge.ended(self)
            if self._gone and self.record.reason is CloseReason.UNKNOWN:
                self.record.reason = CloseReason.CLIENT_CLOSED
            if self._cut is not None:
                self.record.reason, self.record.detail = self._cut
            if self._known:
                self.owner.records.write(self.record)
            self._client.ended(taken_back=self._gone)

    async def _serve(self) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            head = await self.stream.request()
        shown, request = read_http2(head, self.owner.extensions)
        record = self.record
        self._known = True
        record.virtual_network, record.protocol = shown.virtual_network, request.protocol
        if isinstance(request, Extended):
            record.onramp = request.protocol
            self.owner.judge.authenticate(shown, record)
            await self.owner.extensions[request.protocol](self, request)
            return
        record.wanted = (request.host, request.port)
        self.owner.judge.authenticate(shown, record)
        if request.protocol == "udp":
            await self._carry_udp(request)
            return
        exchange = await reach(self.owner, self, request)
        exchange.stream.read_for(self._client)  # what this client does not take is given up together
        try:
            self.stream.send_head([_OK])
            await self._join(exchange)
        finally:
            exchange.abort()

    async def _join(self, exchange: Exchange) -> None:
        """Carry bytes both ways, each direction to its own end."""
        record = self.record
        up = self.owner.tasks.start(self._upload(exchange), "edge gateway upload")
        try:
            await self._download(exchange)
            if not up.done():
                record.reason = CloseReason.ORIGIN_CLOSED
            await up
            if record.reason is CloseReason.UNKNOWN:
                record.reason = CloseReason.CLIENT_CLOSED
            exchange.close()
        except TransportError:
            record.reason = CloseReason.CLIENT_CLOSED if self._gone else CloseReason.ORIGIN_ERROR
            raise
        finally:
            up.cancel()

    async def _download(self, exchange: Exchange) -> None:
        stream, source, record = self.stream, exchange.stream, self.record
        data = exchange.leftover
        while True:
            if data:
                record.received += len(data)
                try:
                    if stream.send_nowait(data):
                        await stream.drain()
                except TransportError:
                    self._gone = True
                    raise
            received = source.receive_nowait(PIECE)
            data = await source.receive(PIECE) if received is None else received
            if not data:
                stream.finish()
                return

    async def _upload(self, exchange: Exchange) -> None:
        stream, target, record = self.stream, exchange.stream, self.record
        try:
            while True:
                received = stream.receive_nowait(PIECE)
                data = await stream.receive(PIECE) if received is None else received
                if not data:
                    target.finish()
                    return
                record.sent += len(data)
                if target.send_nowait(data):
                    await target.drain()
        except TransportError:
            stream.stop()  # the destination wants no more of it; its answer may come nevertheless

    async def _carry_udp(self, request: Connect) -> None:
        self.record.onramp = "connect-udp"
        tunnel = UdpTunnel(self.owner, self, self.send_payload, self._udp_ended)
        try:
            await tunnel.open(request)
            self.stream.send_head([_OK, CAPSULES])
            self.stream.set_datagram_handler(lambda datagram: self._take(tunnel, datagram))
            while data := await self.stream.receive(PIECE):
                await tunnel.feed(data)
            self.record.reason = CloseReason.CLIENT_CLOSED
        except TransportError:
            if self._broken is not None:
                raise self._broken from None
            if self._far_ended is None:
                raise
            self.record.reason, self.record.detail = self._far_ended
        finally:
            self.stream.set_datagram_handler(None)
            tunnel.close()
        self.stream.finish()

    def _take(self, tunnel: UdpTunnel, datagram: bytes) -> None:
        try:
            tunnel.take(datagram)
        except ProtocolError as error:
            self._broken = error
            self.stream.stop()  # which wakes whoever receives

    def send_payload(self, payload: bytes) -> bool:
        """Send a packet of context id 0 to the client; False where there is no room."""
        sent = self.stream.send_datagram(_UDP_CONTEXT + payload)
        if sent is not None:
            return sent
        if self._full:
            return False
        try:
            self._full = self.stream.send_nowait(encode_udp_capsule(payload))
        except TransportError:
            return False
        if self._full:
            self.owner.tasks.start(self._drain(), "edge gateway drain")
        return True

    async def _drain(self) -> None:
        try:
            await self.stream.drain()
        except TransportError:
            return
        self._full = False

    def _udp_ended(self, reason: CloseReason, detail: str) -> None:
        self._far_ended = (reason, detail)
        self.stream.stop()  # which wakes whoever receives

    def _refuse(self, verdict: Verdict, reason: str) -> bool:
        status, fields, body = refusal_of(verdict, reason)
        try:
            self.stream.send_head([(b":status", b"%d" % status), *fields])
            self.stream.send_nowait(body, finish=True)
        except TransportError:
            return False  # the client is gone
        return True

    def _aborted(self) -> None:
        """The client took the stream back, or is gone."""
        self._gone = True
        self.task.cancel()
