"""Clients of the gateway over HTTP/2 (RFC 9113 8.5): one connection, each stream a flow of its own.

Credit goes back to a client as its destinations take what it sends, and what is sent to it waits for its windows. Its
frames are read in slices, with a budget for those that carry nothing, as `transport.http2` has it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from pyconnector.edge.connectors.exchange import PIECE
from pyconnector.edge.private.gateway.flows import reach
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.gateway.udp_tunnel import UdpTunnel
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.handshake import Verdict
from pyconnector.protocol.proxying.proxy_request import CAPSULES, BadProxyRequest, read_http2, refusal_of
from pyconnector.transport.errors import TransportError
from pyconnector.transport.http2 import Http2Settings

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.protocol.proxying.handshake import Connect
    from pyconnector.transport.http2 import Http2Connection, Http2Stream
    from pyconnector.transport.seam import Stream

#: Flows of one connection at once, and what may wait for their destinations.
SETTINGS: Final = Http2Settings(
    max_streams=1_000, max_header_list=64 * 1024, max_frame=64 * 1024, initial_stream_window=64 * 1024,
    stream_window=1024 * 1024, connection_window=8 * 1024 * 1024, keepalive=20.0, idle_timeout=60.0,
    extended_connect=True, resets=(1_000, 200.0), idle_frames=(1_000, 200.0),
)  # fmt: skip
#: Seconds that a connection may be without a flow.
IDLE_TIMEOUT: Final = 300.0
_OK: Final = (b":status", b"200")


class Http2Client:
    """One client's connection, until it is lost."""

    def __init__(self, owner: Gateway, connection: Http2Connection) -> None:
        self._owner = owner
        self._connection = connection
        self._flows = 0
        self._idle: asyncio.TimerHandle | None = None
        peer = connection.peer_address
        self.source = (str(peer[0]), int(peer[1]))
        owner.tasks.start(self._watch(), "edge gateway http2 client")
        if not owner.joined(self):
            self.abort()
            return
        self._look_idle()
        connection.set_stream_handler(self._begin)

    def __repr__(self) -> str:
        return f"<Http2Client {self.source[0]} flows={self._flows}>"

    def abort(self) -> None:
        """Cut the client off."""
        self._connection.close(0, "")

    def ended(self) -> None:
        """A flow is over."""
        self._flows -= 1
        self._look_idle()

    def _begin(self, stream: Stream) -> None:
        self._flows += 1
        self._look_idle()
        flow = Http2Flow(self._owner, self, cast("Http2Stream", stream))
        flow.task = self._owner.tasks.start(flow.run(), "edge gateway http2 flow")

    async def _watch(self) -> None:
        try:
            await self._connection.wait_closed()
        finally:
            self._owner.left(self)
            if self._idle is not None:
                self._idle.cancel()

    def _look_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._flows and self._connection.closed is None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self.abort)


class Http2Flow:
    """One stream of a client, from its head to its record."""

    task: asyncio.Task[None]

    def __init__(self, owner: Gateway, client: Http2Client, stream: Http2Stream) -> None:
        self._owner = owner
        self._client = client
        self._stream = stream
        self._cut: tuple[CloseReason, str] | None = None
        self._far_ended: tuple[CloseReason, str] | None = None
        self._known = False  # whether it is known who asks, and so worth a record
        self._full = False
        self._gone = False
        self.record = owner.new_record("http2-connect", client.source)

    def __repr__(self) -> str:
        return f"<Http2Flow {self._stream.stream_id} of {self._client!r}>"

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        self._cut = (reason, detail)
        self._stream.reset()
        self.task.cancel()

    async def run(self) -> None:
        """Serve the stream. Cancel resets it."""
        self._stream.set_abort_callback(self._aborted)
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
        except TransportError:
            self._gone = True  # before its destination was reached
        finally:
            self._stream.set_abort_callback(None)
            if not whole:
                self._stream.reset()
            self._stream.stop()
            self._owner.judge.ended(self)
            if self._gone and self.record.reason is CloseReason.UNKNOWN:
                self.record.reason = CloseReason.CLIENT_CLOSED
            if self._cut is not None:
                self.record.reason, self.record.detail = self._cut
            if self._known:
                self._owner.records.write(self.record)
            self._client.ended()

    async def _serve(self) -> None:
        shown, request = read_http2(self._stream.head or [])
        record = self.record
        self._known = True
        record.virtual_network, record.protocol = shown.virtual_network, request.protocol
        record.wanted = (request.host, request.port)
        self._owner.judge.authenticate(shown, record)
        if request.protocol == "udp":
            await self._carry_udp(request)
            return
        exchange = await reach(self._owner, self, request)
        exchange.stream.read_for(self._client)  # what this client does not take is given up together
        try:
            self._stream.send_head([_OK])
            await self._join(exchange)
        finally:
            exchange.abort()

    async def _join(self, exchange: Exchange) -> None:
        """Carry bytes both ways, each direction to its own end."""
        record = self.record
        up = self._owner.tasks.start(self._upload(exchange), "edge gateway http2 upload")
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
        stream, source, record = self._stream, exchange.stream, self.record
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
        stream, target, record = self._stream, exchange.stream, self.record
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
        tunnel = UdpTunnel(self._owner, self, self._send_capsule, self._udp_ended)
        try:
            await tunnel.open(request)
            self._stream.send_head([_OK, CAPSULES])
            while data := await self._stream.receive(PIECE):
                await tunnel.feed(data)
            self.record.reason = CloseReason.CLIENT_CLOSED
        except TransportError:
            if self._far_ended is None:
                raise
            self.record.reason, self.record.detail = self._far_ended
        finally:
            tunnel.close()
        self._stream.finish()

    def _send_capsule(self, data: bytes) -> bool:
        if self._full:
            return False
        try:
            self._full = self._stream.send_nowait(data)
        except TransportError:
            return False
        if self._full:
            self._owner.tasks.start(self._drain(), "edge gateway http2 drain")
        return True

    async def _drain(self) -> None:
        try:
            await self._stream.drain()
        except TransportError:
            return
        self._full = False

    def _udp_ended(self, reason: CloseReason, detail: str) -> None:
        self._far_ended = (reason, detail)
        self._stream.stop()  # which wakes whoever receives

    def _refuse(self, verdict: Verdict, reason: str) -> bool:
        status, fields, body = refusal_of(verdict, reason)
        try:
            self._stream.send_head([(b":status", b"%d" % status), *fields])
            self._stream.send_nowait(body, finish=True)
        except TransportError:
            return False  # the client is gone
        return True

    def _aborted(self) -> None:
        """The client took the stream back, or is gone."""
        self._gone = True
        self.task.cancel()
