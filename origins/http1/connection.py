"""One HTTP/1.1 connection to an origin: an asyncio protocol that carries one exchange after another.

The latency-critical path: no task and no timer per exchange, one write for the request, and the arrival of the
response's head wakes the one waiter. An exchange ends the connection unless both sides left it clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from pyconnector.origins.base import OriginError, OriginResponse
from pyconnector.origins.failures import broke_protocol, ended_abruptly, unreachable
from pyconnector.origins.http1.parser import BrokenResponse, ResponseParser
from pyconnector.origins.http1.response import HttpResponse
from pyconnector.origins.http1.turn import Turn
from pyconnector.origins.net.channel import WRITE_HIGH_WATER, WRITE_LOW_WATER, Channel
from pyconnector.origins.net.reading import Reading
from pyconnector.origins.net.tls import alert_in
from pyconnector.origins.tcp.tunnel import Tunnel

if TYPE_CHECKING:
    from pyconnector.origins.http1.upload import Upload

#: Bytes that are read of a connection whose other direction failed.
LAST_WORDS = 256 * 1024


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
        self._turn: Turn | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._handed_over = False
        self.write_paused = False
        self.is_closed = False
        self.exchanges = 0
        self.idle_since = 0.0
        self.key = key

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "busy" if self._turn else "idle"
        return f"<HttpConnection {state}, {self.exchanges} exchanges>"

    async def exchange(
        self, wire: bytes, upload: Upload | None = None, *, head_only: bool = False, upgrade: bool = False
    ) -> OriginResponse:
        """Send a request and return its response once the head is there.

        Cancel closes the connection where it still is this exchange's, and leaves it alone where it is not.

        Raises:
            Unanswered: the connection ended before any byte of a response.
            OriginError: the origin broke the protocol or broke off, or the body of the request did.
        """
        if self.is_closed:
            raise Unanswered("it closed the connection")
        if self._turn is not None:
            raise RuntimeError("another exchange has this connection")
        turn = self._turn = Turn(self, self._loop.create_future(), upload)
        self.exchanges += 1
        self._parser.begin(head_only=head_only, upgrade=upgrade)
        self._transport.write(wire)
        if upload is not None and not upload.done:
            upload.start(self, self._upload_ended)
        try:
            return await turn.waiter
        except BaseException:
            turn.abandon()
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
        turn = self._turn
        if turn is None:
            self.abort()  # nobody asked: whatever this is, it answers no request of ours
            return
        turn.silent = False
        parser = self._parser
        try:
            parser.feed(data)
        except BrokenResponse as broken:
            self._fail(turn, broke_protocol(str(broken)))
            return
        response = turn.response
        if response is None:
            if not parser.head_complete:
                if parser.continued and turn.upload is not None:
                    turn.upload.proceed()
                return
            if parser.upgraded:
                self._hand_over(turn)
                return
            if parser.complete and parser.reusable and turn.is_uploaded:
                self._answer_whole(turn)
                return
            response = turn.response = HttpResponse(parser.status, parser.headers, turn, self._transport)
            turn.answer(response)
            if self.is_closed:
                return  # nobody waited for it
        if parser.body:
            body = parser.body
            response.put(body[0] if len(body) == 1 else b"".join(body))
            body.clear()
        if parser.complete:
            self._complete(turn, response)

    def eof_received(self) -> None:
        """The origin will send no more: the end of a body without a length, or too early."""
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self._handed_over:
            if exc is not None:
                self._read_last_words()
            self._ended(exc)

    def _read_last_words(self) -> None:
        """Read an answer to what was not sent to its end: asyncio gives a connection up when it cannot be written to,
        whatever waits to be read (RFC 9112 9.5: a service may answer and close while a body is still sent)."""
        turn, transport = self._turn, self._transport
        sock = transport.get_extra_info("socket")
        if turn is None or turn.upload is None or sock is None or not hasattr(select, "poll"):
            return  # Windows reads no sockets so
        if transport.get_extra_info("ssl_object") is not None:
            return  # it is encrypted, and nobody is left who could decrypt it
        left = LAST_WORDS
        with contextlib.suppress(OSError):
            while left and self._turn is turn and (data := os.read(sock.fileno(), left)):
                left -= len(data)
                self.data_received(data)

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
        """Close at once; whoever waits for an answer, or for more of one, is told. Idempotent."""
        turn, self._turn = self._turn, None
        if turn is not None:
            response = turn.response
            turn.release()
            if turn.upload is not None:
                turn.upload.cancel()
            if not turn.fail(Unanswered("its connection was closed")) and response is not None:
                response.fail(unreachable("its connection was closed"))
        if not self.is_closed:
            self.is_closed = True
            self._transport.abort()
            self._when_closed(self)
        self.resume_writing()

    # --- the ends of an exchange ---

    def _answer_whole(self, turn: Turn) -> None:
        """The usual case: head, body and end came at once, and the response needs this connection no more."""
        parser, body = self._parser, self._parser.body
        response = HttpResponse(parser.status, parser.headers, None, None)
        response.trailers = parser.trailers
        if body:
            response.put(body[0] if len(body) == 1 else b"".join(body))
            body.clear()
        response.end()
        self._set_free(turn)
        turn.answer(response)

    def _complete(self, turn: Turn, response: HttpResponse) -> None:
        parser = self._parser
        response.trailers = parser.trailers
        if not parser.reusable:
            turn.release()
            self.abort()
        elif turn.is_uploaded:
            self._set_free(turn)
        response.end()

    def _set_free(self, turn: Turn) -> None:
        turn.release()
        self._turn = None
        self._when_free(self)

    def _upload_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        turn = self._turn
        if turn is None or turn.upload is None or not turn.upload.is_sent_by(task):
            return  # its exchange is over
        if error is not None:
            cause = error if isinstance(error, OriginError) else ended_abruptly(str(error) or type(error).__name__)
            self._fail(turn, cause)
        elif self._parser.complete and turn.response is not None:
            self._set_free(turn)

    def _ended(self, exc: Exception | None) -> None:
        """The origin's side is over, by end of file or by error."""
        turn = self._turn
        if turn is None:
            self.abort()
            return
        if turn.silent:
            cause = (
                f"it broke the connection off{alert_in(exc)}" if exc else "it closed the connection without an answer"
            )
            self._fail(turn, Unanswered(cause))
            return
        try:
            if not self._parser.complete:
                if exc is not None:
                    raise BrokenResponse(f"it broke the connection off within its response{alert_in(exc)}")
                self._parser.feed_eof()
        except BrokenResponse as broken:
            self._fail(turn, broke_protocol(str(broken)))
            return
        if turn.response is not None:
            turn.response.end()
        self.abort()

    def _fail(self, turn: Turn, error: OriginError | Unanswered) -> None:
        if not turn.fail(error) and turn.response is not None:
            turn.response.fail(error if isinstance(error, OriginError) else unreachable(error.cause))
        self.abort()

    def _hand_over(self, turn: Turn) -> None:
        """The origin switched protocols: the transport goes to a tunnel, and this connection is over."""
        tunnel = Tunnel(self._parser.status, self._parser.headers)
        channel = Channel(tunnel, tunnel.lost)
        tunnel.channel = channel
        self._handed_over = self.is_closed = True
        self._turn = None
        turn.release()
        self._when_closed(self)
        self._transport.set_protocol(channel)
        channel.connection_made(self._transport)
        if self._parser.tail:
            channel.data_received(self._parser.tail)
        turn.answer(tunnel)
