"""One visitor's HTTP/1.1 connection: a request at a time, through a tunnel and back.

The socket's callbacks take bytes and push uploads; one task per connection, made at its first request, answers.
Requests sent ahead wait here unparsed, up to a bound, after which the socket is not read; each gets a turn of its own,
and none is begun while the visitor leaves the answers before it unread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.edge.connectors.exchange import Broken, NoTunnel, Refused, open_exchange
from pyconnector.edge.visitors.form import Form
from pyconnector.edge.visitors.forwarding import host_name, tunnel_request
from pyconnector.edge.visitors.http1.pace import Pace
from pyconnector.edge.visitors.http1.request_body import request_body
from pyconnector.edge.visitors.http1.request_parser import BadRequest, RequestReader
from pyconnector.edge.visitors.http1.response_body import write_response
from pyconnector.edge.visitors.http1.response_head import BadResponse, Framing, final_head, switching_head
from pyconnector.edge.visitors.http1.state import State, limits
from pyconnector.edge.visitors.http1.upload import Upload
from pyconnector.edge.visitors.identity import VisitorIdentity
from pyconnector.edge.visitors.pages import CONTINUE, MISDIRECTED, OPTIONS_ANSWER, error_response, own_response
from pyconnector.edge.visitors.sockets import VisitorSocket, Why, end_writing
from pyconnector.edge.visitors.tcp.two_way import Plain, TwoWay
from pyconnector.edge.visitors.watch import CLIENT_CLOSED, ORIGIN_CLOSED, UNREACHABLE
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.connectors.exchange import Exchange, TunnelResponse
    from pyconnector.edge.visitors.http1.request_body import RequestBody
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
    from pyconnector.edge.visitors.server import VisitorServer
    from pyconnector.edge.visitors.watch import Watched
    from pyconnector.transport.seam import Stream

#: Bytes sent ahead of their turn that wait for it.
MAX_WAITING = 64 * 1024


class VisitorConnection(asyncio.Protocol):
    """One socket of a visitor, from accept to close."""

    def __init__(self, server: VisitorServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader()
        self._state = State.IDLE
        self._deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._exchange: Exchange | None = None
        self._upload: Upload | None = None
        self._form: Form | None = None
        self._upload_fault: BadRequest | None = None
        self._unread = False  # whether more of the current request's body is to come
        self._ends_silently = False  # whether only the end of the socket says that a response is whole
        self._two_way: TwoWay | None = None
        self._watched: Watched | None = None
        self._limits = limits(server.settings)

    def __repr__(self) -> str:
        return f"<VisitorConnection {self._state.value}>"

    # -- callbacks of the socket ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor came."""
        # Not asked with isinstance: uvloop's transports are no subclass.
        self._transport = cast("asyncio.Transport", transport)
        self._socket = VisitorSocket(self._transport)
        self._pace = Pace(self._transport, self._server.settings)
        peer = transport.get_extra_info("peername")
        self._peer = self._visitor = str(peer[0]) if peer else ""
        self._arrival = self._server.arrival(transport)
        self._identity = VisitorIdentity(self._peer, self._arrival.scheme)
        self._by_proxy = self._server.proxies.trusts(self._peer)
        self._set(State.IDLE)
        if not self._server.joined(self):
            self._transport.write(error_response(503, "Too many visitors are here at once."))
            self._close_at_once()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a tunnel, a body, this request or a later one."""
        if self._two_way is not None:
            self._two_way.visitor_data(data)
        elif self._upload is not None:
            self._push_upload(self._upload, data)
        elif self._state is State.CLOSING:
            self._socket.drop(self._server.turns)
        else:
            self._reader.feed(data)
            self._bound_reading()
            if self._state is State.IDLE:
                self._set(State.HEAD)
            if self._state is State.HEAD:
                self._start_or_wake()

    def eof_received(self) -> bool:
        """The visitor sends no more: half a close in a tunnel, else it left."""
        if self._two_way is not None:
            self._two_way.visitor_ended()
            return True
        self._left()
        self._set(State.CLOSING)  # what it may still take has a limit
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: whatever still runs for it is given up at once."""
        self._state = State.CLOSING
        self._server.left(self)
        if self._two_way is not None:
            self._two_way.visitor_lost()
        self._left()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The visitor takes less than comes."""
        self._socket.writing.pause()
        self._pace.slow(self._loop.time())

    def resume_writing(self) -> None:
        """The visitor took enough."""
        self._socket.writing.resume()
        self._pace.fast()

    # -- time and end --------------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """Act where the visitor or the connector took too long. Called by the server every now and then."""
        if self._pace.is_stalled(now, may_rest=self._two_way is not None):
            self._socket.reset()
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        if self._state is State.IDLE:
            self._close()
        elif self._state is State.CLOSING:
            self._deadline = self._pace.lingers(now)
            if self._deadline is None:
                self._transport.abort()
        elif self._state is State.HEAD:
            self._refuse(BadRequest("The header of the request did not arrive in time.", 408))
        elif self._unread and not (self._upload is not None and self._upload.is_draining):
            self._refuse(BadRequest("The body of the request did not arrive in time.", 408))
        else:
            self._refuse(BadRequest("The service behind the tunnel did not answer in time.", 524))
        self._cancel()

    def abort(self) -> None:
        """Cut the visitor off."""
        self._transport.abort()

    def drain(self) -> None:
        """See `server.VisitorConnection.drain`. Nothing is said between requests: the next answer says it."""

    @property
    def is_busy(self) -> bool:
        """See `server.VisitorConnection.is_busy`."""
        return self._state is not State.IDLE

    def _keeps(self, request: VisitorRequest) -> bool:
        """Whether the connection may carry another request."""
        return request.keep_alive and not self._server.is_draining

    def _set(self, state: State) -> None:
        self._state = state
        seconds = self._limits.get(state)
        self._deadline = None if seconds is None else self._loop.time() + seconds

    def _left(self) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _refuse(self, fault: BadRequest, *, ray: str = "", head_only: bool = False) -> None:
        """Answer with an error page, and close so that the visitor can still read it."""
        if self._watched is not None and self._state is State.WAITING:
            self._watched.status = fault.status
        if not self._transport.is_closing():
            self._transport.write(error_response(fault.status, fault.reason, ray=ray, head_only=head_only))
        self._close_gently()

    def _close_gently(self) -> None:
        # Closing with bytes unread would make the kernel reset the connection, and the visitor lose our last words.
        if self._exchange is not None:
            self._exchange.abort()
        self._upload = None
        self._reader.leftover.clear()
        self._set(State.CLOSING)
        end_writing(self._transport)
        self._socket.resume_reading()

    def _close_at_once(self) -> None:
        self._set(State.CLOSING)
        self._transport.close()

    def _bound_reading(self) -> None:
        """Read on only while what waits is within its bound, whatever it is that waits."""
        if len(self._reader.leftover) > MAX_WAITING:
            self._socket.pause_reading(Why.AHEAD)
        else:
            self._socket.resume_reading(Why.AHEAD)

    # -- the task ------------------------------------------------------------------------------------------------

    def _start_or_wake(self) -> None:
        if self._task is None:
            self._task = self._server.tasks.start(self._serve(), "edge visitor")
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _serve(self) -> None:
        try:
            while await self._answer(await self._next_request()):
                if self._socket.writing.paused:
                    await self._socket.writing.wait()
                self._bound_reading()
                if self._reader.has_begun:
                    self._set(State.HEAD)
                    await self._server.turns.wait()
                else:
                    self._set(State.IDLE)
        except BadRequest as fault:
            self._refuse(fault)
        except asyncio.CancelledError:
            raise  # whoever cancels sees to the socket
        except BaseException:
            self._socket.reset()
            raise
        finally:
            if self._exchange is not None:
                self._exchange.abort()

    async def _next_request(self) -> VisitorRequest:
        while (request := self._reader.next_request()) is None:
            self._wake = self._loop.create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        return request

    async def _answer(self, request: VisitorRequest) -> bool:
        """Serve one request; True where the connection can carry another."""
        self._set(State.WAITING)
        if request.target == b"*":
            # RFC 9110 9.3.7: it asks about this server, not about a service behind it.
            if request.body_length == 0:
                self._set(State.RESPONDING)
                self._transport.write(OPTIONS_ANSWER)
                return self._keeps(request) or self._close()
            raise BadRequest("A request about the server itself has no body.")
        ray = self._server.rays.next_ray()
        request.scheme = self._arrival.scheme
        if self._by_proxy:
            request.scheme, self._visitor = self._server.proxies.told(request.headers, self._peer)
            self._identity = VisitorIdentity(self._visitor, request.scheme, self._peer)
        if self._arrival.is_misdirected(request.host):
            return self._fail(request, 421, MISDIRECTED, ray)
        watch = self._server.watch
        if watch is None or not watch.on:
            return await self._forward(request, ray)
        watched = self._watched = watch.request(request, self._visitor, ray)
        try:
            if watched.answer is not None:
                return self._give(request, watched.answer, ray)
            if (pending := watched.pending) is not None:
                answer = await watched.settle(pending, await self._whole_body(request, pending.most))
                return self._give(request, answer, ray, body_read=True)
            watched.begin(self._socket.reset)
            return await self._forward(request, ray)
        except asyncio.CancelledError:
            watched.close_reason = watched.close_reason or CLIENT_CLOSED
            raise
        finally:
            self._watched = None
            watched.end()

    async def _forward(self, request: VisitorRequest, ray: str) -> bool:
        """Carry a request through its tunnel; True where the connection can carry another."""
        try:
            exchange = self._exchange = await self._open(request, ray)
            response = await exchange.response()
            if self._watched is not None:
                self._watched.answered(response.status, exchange)
            return await self._pass_on(request, exchange, response)
        except NoTunnel:
            return self._fail(request, 530, "No tunnel is connected for this host.", ray)
        except (Broken, Refused, BadResponse, ProtocolError) as exc:
            if self._state is not State.WAITING:
                self._cut_off()
                return False
            if self._upload_fault is not None:
                return self._fail(request, self._upload_fault.status, self._upload_fault.reason, ray)
            reason = self._server.explain(str(exc)) if isinstance(exc, Refused) else str(exc)
            return self._fail(request, exc.status if isinstance(exc, Broken | Refused) else 502, reason, ray)

    async def _open(self, request: VisitorRequest, ray: str) -> Exchange:
        """Open a stream for the request, and let its body flow."""
        body = None
        first = b""
        if request.body_length != 0:
            body = request_body(request.body_length)
            first = body.take(self._reader.leftover)
        self._unread = body is not None and not body.finished
        headers = self._identity.add_to(request.headers, ray) if self._server.settings.identity else request.headers
        tunnel = self._server.tunnels.for_request(host_name(request.host), request.target)
        exchange = await open_exchange(
            tunnel, tunnel_request(request, headers), body=first, finish=not (request.websocket or self._unread)
        )
        if self._watched is not None:
            self._watched.opened(exchange, tunnel, len(first))
        if body is not None and self._unread:
            self._exchange = exchange
            self._begin_upload(request, exchange.stream, body, asked=not first)
        return exchange

    def _begin_upload(self, request: VisitorRequest, into: Stream | Form, body: RequestBody, *, asked: bool) -> None:
        self._upload = upload = Upload(self._socket, into, body, self._reader.leftover, self._server)
        upload.on_turn = lambda: self._push_upload(upload)
        asked = asked and not self._reader.has_begun
        self._push_upload(upload)
        self._socket.resume_reading(Why.AHEAD)
        if request.expects_continue and asked:
            self._transport.write(CONTINUE)

    def _push_upload(self, upload: Upload, data: bytes = b"") -> None:
        if self._upload is not upload:
            return
        try:
            if data:
                upload.feed(data)
            else:
                upload.advance()
        except BadRequest as fault:
            self._upload_fault = fault
            self._upload = None
            if self._exchange is not None:
                self._exchange.abort()  # which wakes the task
            if self._form is not None:
                self._form.fail(fault)
            return
        if self._state is State.WAITING:
            self._set(State.WAITING)  # the time for an answer begins anew
        if upload.finished:
            self._upload = None
            self._unread = False
            self._bound_reading()

    async def _pass_on(self, request: VisitorRequest, exchange: Exchange, response: TunnelResponse) -> bool:
        status, headers = response.status, response.headers
        if status == 101:
            if not request.websocket:
                raise BadResponse("The connector switched protocols, which nobody asked for.")
            await self._tunnel(exchange, switching_head(headers))
            return False
        keep_alive = self._keeps(request) and not (self._unread and status >= 400)
        head = final_head(status, headers, request, keep_alive=keep_alive)
        self._set(State.RESPONDING)
        self._ends_silently = head.framing is Framing.UNTIL_CLOSE
        await write_response(self._transport, self._socket.writing, exchange, head)
        # The response is all that counted: what the stream still has to carry in either direction is in vain.
        exchange.abort()
        self._exchange = None
        if self._unread:
            self._close_gently()
            return False
        return head.keep_alive or self._close()

    async def _tunnel(self, exchange: Exchange, head: bytes) -> None:
        self._set(State.TUNNEL)
        self._transport.write(head)
        server = self._server
        two_way = self._two_way = TwoWay(self._socket, exchange, server.tasks, server.turns, Plain())
        self._socket.resume_reading()  # first, for what follows may stop it again
        if waiting := self._reader.take_leftover():
            two_way.visitor_data(waiting)
        ended = False
        try:
            ended = await two_way.run(exchange.leftover)
            if self._watched is not None:
                self._watched.close_reason = self._watched.close_reason or ORIGIN_CLOSED
        finally:
            if ended:
                self._close_at_once()
            else:
                self._socket.reset()

    def _fail(self, request: VisitorRequest, status: int, reason: str, ray: str) -> bool:
        """Answer with an error page; True where the connection can carry another request."""
        if self._watched is not None:
            self._watched.status, self._watched.close_reason = status, UNREACHABLE
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None
        head_only = request.method == "HEAD"
        if self._unread:
            self._refuse(BadRequest(reason, status), ray=ray, head_only=head_only)
            return False
        keep_alive = self._keeps(request)
        self._set(State.RESPONDING)
        self._transport.write(error_response(status, reason, ray=ray, keep_alive=keep_alive, head_only=head_only))
        return keep_alive or self._close()

    async def _whole_body(self, request: VisitorRequest, most: int) -> bytes:
        """Return the body of a request that the edge answers itself; BadRequest where it is none of `most` bytes."""
        if request.body_length == 0:
            return b""
        form = self._form = Form(most)
        self._unread = True
        self._begin_upload(request, form, request_body(request.body_length), asked=not self._reader.has_begun)
        try:
            return await form.whole()
        finally:
            self._form = None

    def _give(self, request: VisitorRequest, answer: Answer, ray: str, *, body_read: bool = False) -> bool:
        """Give an answer of the edge's own; True where the connection can carry another request."""
        body_read = body_read or request.body_length == 0
        keep_alive = self._keeps(request) and body_read
        self._set(State.RESPONDING)
        self._transport.write(own_response(answer, ray, keep_alive=keep_alive, head_only=request.method == "HEAD"))
        if body_read:
            return keep_alive or self._close()
        self._close_gently()
        return False

    def _cut_off(self) -> None:
        """End in the middle of a response, so that the visitor sees that it is not whole."""
        if self._ends_silently:
            self._socket.reset()
        else:
            self._close_at_once()

    def _close(self) -> bool:
        if self._reader.has_begun or not self._socket.is_read:
            self._close_gently()
        else:
            self._close_at_once()
        return False
