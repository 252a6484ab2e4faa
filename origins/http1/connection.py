"""One HTTP/1.1 connection to an origin: an asyncio protocol that carries one exchange after another.

The latency-critical path: no task and no timer per exchange, one write for the request, and the arrival of the
response's head wakes the one waiter. An exchange ends the connection unless both sides left it clean.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from pyconnector.origins.base import OriginError, OriginResponse
from pyconnector.origins.failures import broke_protocol, ended_abruptly, unreachable
from pyconnector.origins.http1.parser import BrokenResponse, ResponseParser
from pyconnector.origins.http1.response import HttpResponse
from pyconnector.origins.net.channel import WRITE_HIGH_WATER, WRITE_LOW_WATER, Channel
from pyconnector.origins.net.reading import Reading
from pyconnector.origins.tcp.tunnel import Tunnel

if TYPE_CHECKING:
    from pyconnector.origins.http1.upload import Upload


class Unanswered(Exception):
    """The connection ended before any byte of a response; caught by the origin, which may try again."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class HttpConnection(Reading):
    """Idle in the pool, or in one exchange. `when_free` and `when_closed` tell the pool."""

    def __init__(
        self,
        when_free: Callable[[HttpConnection], None],
        when_closed: Callable[[HttpConnection], None],
        key: str = "",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._when_free = when_free
        self._when_closed = when_closed
        self._parser = ResponseParser()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[OriginResponse] | None = None
        self._response: HttpResponse | None = None
        self._upload: Upload | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._busy = False
        self._silent = True
        self._handed_over = False
        self.write_paused = False
        self.is_closed = False
        self.exchanges = 0
        self.idle_since = 0.0
        self.key = key

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "busy" if self._busy else "idle"
        return f"<HttpConnection {state}, {self.exchanges} exchanges>"

    async def exchange(
        self, wire: bytes, upload: Upload | None = None, *, head_only: bool = False, upgrade: bool = False
    ) -> OriginResponse:
        """Send a request and return its response once the head is there. Cancel closes the connection.

        Raises:
            Unanswered: the connection ended before any byte of a response.
            OriginError: the origin broke the protocol or broke off, or the body of the request did.
        """
        if self.is_closed:
            raise Unanswered("it closed the connection")
        self._busy = self._silent = True
        self._response = None
        self._upload = upload
        self.exchanges += 1
        self._parser.begin(head_only=head_only, upgrade=upgrade)
        waiter: asyncio.Future[OriginResponse]
        waiter = self._waiter = self._loop.create_future()
        self._transport.write(wire)
        if upload is not None and not upload.done:
            upload.start(self, self._upload_ended)
        try:
            return await waiter
        except BaseException:
            self.abort()
            raise

    def looks_stale(self) -> bool:
        """Whether the origin's end of it, or anything else, waits in the kernel already. Costs a system call."""
        if self.is_closed or not hasattr(select, "poll"):  # Windows has none
            return self.is_closed
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # --- asyncio calls these ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=WRITE_LOW_WATER)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; wake the waiter, fill the response, and set the connection free at its end."""
        if not self._busy:
            self.abort()  # nobody asked: whatever this is, it answers no request of ours
            return
        self._silent = False
        parser = self._parser
        try:
            parser.feed(data)
        except BrokenResponse as broken:
            self._fail(broke_protocol(str(broken)))
            return
        response = self._response
        if response is None:
            if not parser.head_complete:
                if parser.continued and self._upload is not None:
                    self._upload.proceed()
                return
            if parser.upgraded:
                self._hand_over()
                return
            if parser.complete and parser.reusable and (self._upload is None or self._upload.done):
                self._answer_whole()
                return
            response = self._response = HttpResponse(parser.status, parser.headers, self, self._transport)
            self._answer(response)
        if parser.body:
            body = parser.body
            response.put(body[0] if len(body) == 1 else b"".join(body))
            body.clear()
        if parser.complete:
            self._complete(response)

    def eof_received(self) -> None:
        """The origin will send no more: the end of a body without a length, or too early."""
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self._handed_over:
            self._ended(exc)

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.write_paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # --- the upload calls these ---

    def write(self, data: bytes) -> None:
        """Queue a piece of the request's body."""
        if not self.is_closed:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until more may be queued, or the connection is gone. Cancel at any time."""
        if self.write_paused and not self.is_closed:
            self._resumed = self._loop.create_future()
            try:
                await self._resumed
            finally:
                self._resumed = None

    # --- the response and the pool call this ---

    def abort(self) -> None:
        """Close at once. Idempotent."""
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
        if not self.is_closed:
            self.is_closed = True
            self._transport.abort()
            self._when_closed(self)
        self.resume_writing()

    # --- the ends of an exchange ---

    def _answer(self, response: OriginResponse) -> None:
        if self._upload is not None and self._upload.is_waiting:
            self._upload.cancel()  # a final answer instead of 100: the body is not wanted (RFC 9110 10.1.1)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(response)
        self._waiter = None

    def _answer_whole(self) -> None:
        """The usual case: head, body and end came at once, and the response needs this connection no more."""
        parser, body = self._parser, self._parser.body
        response = HttpResponse(parser.status, parser.headers, None, None)
        response.trailers = parser.trailers
        if body:
            response.put(body[0] if len(body) == 1 else b"".join(body))
            body.clear()
        response.end()
        self._set_free()
        self._answer(response)

    def _complete(self, response: HttpResponse) -> None:
        parser = self._parser
        response.trailers = parser.trailers
        if not parser.reusable:
            self._detach(response)
            self.abort()
        elif self._upload is None or self._upload.done:
            self._detach(response)
            self._set_free()
        response.end()

    def _detach(self, response: HttpResponse) -> None:
        response.carrier = None
        response.attach(None)

    def _set_free(self) -> None:
        self._busy = False
        self._response = self._upload = None
        self._when_free(self)

    def _upload_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if self._upload is None or not self._upload.is_sent_by(task):
            return  # its exchange is over
        if error is not None:
            cause = error if isinstance(error, OriginError) else ended_abruptly(str(error) or type(error).__name__)
            self._fail(cause)
        elif self._busy and self._parser.complete and self._response is not None and not self.is_closed:
            self._detach(self._response)
            self._set_free()

    def _ended(self, exc: Exception | None) -> None:
        """The origin's side is over, by end of file or by error."""
        if self.is_closed:
            return
        if not self._busy:
            self.abort()
            return
        if self._silent:
            self._fail(
                Unanswered("it broke the connection off" if exc else "it closed the connection without an answer")
            )
            return
        try:
            if not self._parser.complete:
                if exc is not None:
                    raise BrokenResponse("it broke the connection off within its response")
                self._parser.feed_eof()
        except BrokenResponse as broken:
            self._fail(broke_protocol(str(broken)))
            return
        if self._response is not None:
            self._detach(self._response)
            self._response.end()
        self.abort()

    def _fail(self, error: OriginError | Unanswered) -> None:
        self._busy = True  # whatever still arrives answers nothing
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_exception(error)
            self._waiter = None
        elif self._response is not None:
            self._detach(self._response)
            self._response.fail(error if isinstance(error, OriginError) else unreachable(error.cause))
        self.abort()

    def _hand_over(self) -> None:
        """The origin switched protocols: the transport goes to a tunnel, and this connection is over."""
        tunnel = Tunnel(self._parser.status, self._parser.headers)
        channel = Channel(tunnel, tunnel.lost)
        tunnel.channel = channel
        self._handed_over = self.is_closed = True
        self._when_closed(self)
        self._transport.set_protocol(channel)
        channel.connection_made(self._transport)
        if self._parser.tail:
            channel.data_received(self._parser.tail)
        if self._waiter is None or self._waiter.done():
            tunnel.abort()
        self._answer(tunnel)
