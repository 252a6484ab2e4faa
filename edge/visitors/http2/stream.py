"""One exchange of an HTTP/2 visitor: its request into a tunnel, the response back, trailers included."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pyconnector.edge.connectors.exchange import PIECE, Broken, NoTunnel, Refused, open_exchange
from pyconnector.edge.visitors.form import Form
from pyconnector.edge.visitors.forwarding import host_name, tunnel_request
from pyconnector.edge.visitors.http1.request_parser import BadRequest
from pyconnector.edge.visitors.http1.response_body import wait_for_end
from pyconnector.edge.visitors.http1.response_head import BadResponse
from pyconnector.edge.visitors.http2.response import (
    OPTIONS_FIELDS,
    error_answer,
    own_fields,
    response_fields,
    trailer_block,
)
from pyconnector.edge.visitors.http2.upload import Upload
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.connectors.exchange import Exchange, TunnelResponse
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
    from pyconnector.edge.visitors.identity import VisitorIdentity
    from pyconnector.edge.visitors.server import VisitorServer
    from pyconnector.edge.visitors.watch import Watched

    Headers = list[tuple[bytes, bytes]]


class Carrier(Protocol):
    """The connection, as its streams see it."""

    async def send_fields(self, stream_id: int, fields: Headers, *, end: bool = False) -> None:
        """Queue a header block, or trailers, once the socket takes more. Cancel: it is queued or not."""

    async def send_data(self, stream_id: int, data: bytes) -> None:
        """Send `data` as the visitor's windows and its socket allow. Cancel leaves part of it sent."""

    def end(self, stream_id: int) -> None:
        """End the response."""

    def reset(self, stream_id: int, *, failed: bool) -> None:
        """Reset the stream: because it failed, or because the rest of its request is not wanted."""

    def flush(self) -> None:
        """Hand the socket what is queued."""

    def acknowledge(self, stream_id: int, count: int) -> None:
        """Give the visitor credit for `count` bytes of a stream."""

    def __hash__(self) -> int:
        """A visitor is itself: streams are read for it."""

    def over(self, stream: VisitorStream) -> None:
        """The stream ended, however that came."""


class VisitorStream:
    """From the request's header to the last frame in either direction."""

    def __init__(
        self,
        stream_id: int,
        request: VisitorRequest | BadRequest,
        carrier: Carrier,
        server: VisitorServer,
        *,
        grpc: bool,
        peer: str,
    ) -> None:
        """`grpc` says that faults are to be told in gRPC's own way; `peer` is the visitor's address."""
        self.stream_id = stream_id
        self.upload = Upload(lambda count: carrier.acknowledge(stream_id, count), server.tasks)
        self.responding = False
        "Whether the header of the response is out."
        self._request = request
        self._left = None if isinstance(request, BadRequest) else request.body_length
        self._carrier = carrier
        self._server = server
        self._grpc = grpc
        self._peer = peer
        self._watched: Watched | None = None
        self._ray = server.rays.next_ray()
        self._exchange: Exchange | None = None
        self._clock: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<VisitorStream {self.stream_id} {'responding' if self.responding else 'waiting'}, {self.upload!r}>"

    def start(self, identity: VisitorIdentity) -> None:
        """Serve the request in a task of its own."""
        self._task = self._server.tasks.start(self._run(identity), "edge visitor stream")

    def abandon(self) -> None:
        """The visitor wants no more of it, or is gone: the far end learns it at once. Idempotent."""
        if self._exchange is not None:
            self._exchange.abort()
        self.upload.drop()
        if self._task is not None:
            self._task.cancel()

    def takes(self, size: int) -> bool:
        """Count `size` bytes of the body; False where they are more than Content-Length says."""
        if self._left is None:
            return True
        self._left -= size
        return self._left >= 0

    @property
    def is_short(self) -> bool:
        """Whether less of the body came than Content-Length says."""
        return bool(self._left)

    def data(self, data: bytes, cost: int) -> None:
        """A piece of the request's body, with what it cost of the visitor's window."""
        self.upload.feed(data, cost)
        if self._clock is not None and not self._clock.expired():  # the time for an answer begins anew
            self._clock.reschedule(asyncio.get_running_loop().time() + self._server.settings.response_timeout)

    # -- the task ------------------------------------------------------------------------------------------------

    async def _run(self, identity: VisitorIdentity) -> None:
        try:
            fault = await self._serve(identity)
            if fault is not None:
                await self._tell(fault)
        finally:
            if self._exchange is not None:
                self._exchange.abort()
            self.upload.drop()
            self._carrier.over(self)

    async def _serve(self, identity: VisitorIdentity) -> BadRequest | None:
        """Answer the request; return what is to be told instead where that failed before the answer began."""
        request = self._request
        if isinstance(request, BadRequest):
            return request
        if request.target == b"*":
            # RFC 9110 9.3.7: it asks about this server, not about a service behind it.
            await self._carrier.send_fields(self.stream_id, OPTIONS_FIELDS, end=True)
            self._finished()
            return None
        watch = self._server.watch
        if watch is None or not watch.on:
            return await self._forward(request, identity)
        watched = self._watched = watch.request(request, self._peer, self._ray)
        try:
            if watched.answer is not None:
                return await self._give(request, watched.answer)
            if (pending := watched.pending) is not None:
                return await self._give(request, await watched.settle(pending, await self._whole_body(pending.most)))
            watched.begin(self._revoke)
            fault = await self._forward(request, identity)
            if fault is not None:
                watched.status = fault.status
            return fault
        except BadRequest as fault:  # of a body that is read here
            watched.status = fault.status
            return fault
        finally:
            watched.end()

    async def _forward(self, request: VisitorRequest, identity: VisitorIdentity) -> BadRequest | None:
        """Carry a request through its tunnel; return what is to be told where that failed before the answer began."""
        try:
            exchange, response = await self._ask(request, identity)
            await self._pass_on(request, exchange, response)
        except BadRequest as fault:
            return fault
        except Refused as refusal:
            return BadRequest(self._server.explain(str(refusal)), refusal.status)
        except NoTunnel:
            return BadRequest("No tunnel is connected for this host.", 530)
        except TimeoutError:
            if self.upload.ended:
                return BadRequest("The service behind the tunnel did not answer in time.", 524)
            return BadRequest("The body of the request did not arrive in time.", 408)
        except (Broken, BadResponse, ProtocolError, TransportError) as exc:
            if not self.responding:
                return BadRequest(str(exc), exc.status if isinstance(exc, Broken) else 502)
            self._carrier.reset(self.stream_id, failed=True)
        return None

    async def _ask(self, request: VisitorRequest, identity: VisitorIdentity) -> tuple[Exchange, TunnelResponse]:
        try:
            async with asyncio.timeout(self._server.settings.response_timeout) as self._clock:
                exchange = self._exchange = await self._open(request, identity)
                response = await exchange.response()
                if self._watched is not None:
                    self._watched.answered(response.status, exchange)
                return exchange, response
        finally:
            self._clock = None

    async def _open(self, request: VisitorRequest, identity: VisitorIdentity) -> Exchange:
        """Open a stream for the request, and let its body flow."""
        headers = identity.add_to(request.headers, self._ray) if self._server.settings.identity else request.headers
        first, finish = self.upload.take_opening()
        tunnel = self._server.tunnels.for_request(host_name(request.host), request.target)
        exchange = await open_exchange(tunnel, tunnel_request(request, headers), body=first, finish=finish)
        if self._watched is not None:
            self._watched.opened(exchange, tunnel, len(first))
        exchange.stream.read_for(self._carrier)  # what this visitor does not take is given up together
        self.upload.attach(exchange.stream)
        return exchange

    async def _pass_on(self, request: VisitorRequest, exchange: Exchange, response: TunnelResponse) -> None:
        head = response_fields(response.status, response.headers, request.method)
        first: bytes | None = b""
        if head.has_body:
            first = exchange.leftover or exchange.body.receive_nowait(PIECE)
            if first is None and head.ends_grpc:
                first = await exchange.body.receive(PIECE)
            if first == b"" and head.length:
                raise Broken("The connector ended the response early.")
        # What has no body ends with its header: of an empty frame behind it gRPC clients take offence.
        ends = first == b"" and not exchange.trailers
        await self._carrier.send_fields(self.stream_id, head.fields, end=ends)
        self.responding = True
        if not ends:
            await self._send_body(exchange, head.length, first)
        self._finished()
        await wait_for_end(exchange)

    async def _send_body(self, exchange: Exchange, length: int | None, data: bytes | None) -> None:
        """Send the body, of which `data` was received already, and the trailers."""
        carrier, body = self._carrier, exchange.body
        sent = 0
        while True:
            if data is None:
                carrier.flush()
                data = await body.receive(PIECE)
            if not data:
                break
            sent += len(data)
            if length is not None and sent > length:
                raise BadResponse("The connector sent more than the length that the response declares.")
            await carrier.send_data(self.stream_id, data)
            data = body.receive_nowait(PIECE)
        if length is not None and sent != length:
            raise Broken("The connector ended the response early.")
        if trailers := trailer_block(exchange.trailers):
            await carrier.send_fields(self.stream_id, trailers, end=True)
        else:
            carrier.end(self.stream_id)

    async def _whole_body(self, most: int) -> bytes:
        """Return the body of a request that the edge answers itself.

        Raises:
            BadRequest: it is longer than `most` bytes, or does not come.
        """
        form = Form(most)
        first, ended = self.upload.take_opening()
        try:
            form.send_nowait(first, finish=ended)
        except TransportError:
            self.upload.drop()
        else:
            self.upload.attach(form)
        try:
            async with asyncio.timeout(self._server.settings.head_timeout):
                return await form.whole()
        except TimeoutError:
            raise BadRequest("The body of the request did not arrive in time.", 408) from None

    async def _give(self, request: VisitorRequest, answer: Answer) -> BadRequest | None:
        """Give an answer of the edge's own."""
        if self._grpc and answer.status >= 400:
            return BadRequest(answer.sentence or "The edge does not serve that.", answer.status)
        fields = own_fields(answer, self._ray)
        body = b"" if request.method == "HEAD" else answer.body
        await self._carrier.send_fields(self.stream_id, fields, end=not body)
        self.responding = True
        if body:
            await self._carrier.send_data(self.stream_id, body)
            self._carrier.end(self.stream_id)
        self._finished()
        return None

    def _revoke(self) -> None:
        """Cut off what runs under an identity that may no longer pass."""
        self._carrier.reset(self.stream_id, failed=True)
        self._carrier.flush()
        self.abandon()

    async def _tell(self, fault: BadRequest) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        head_only = not isinstance(self._request, BadRequest) and self._request.method == "HEAD"
        fields, body = error_answer(fault, ray=self._ray, grpc=self._grpc, head_only=head_only)
        await self._carrier.send_fields(self.stream_id, fields, end=not body)
        self.responding = True
        if body:
            await self._carrier.send_data(self.stream_id, body)
            self._carrier.end(self.stream_id)
        self._finished()

    def _finished(self) -> None:
        """The response is out. What the request still has to say is not wanted any more (RFC 9113 8.1)."""
        if not self.upload.ended:
            self._carrier.reset(self.stream_id, failed=False)
        self._carrier.flush()
