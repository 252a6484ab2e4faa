"""One visitor's HTTP/2 connection: many exchanges at once, their frames and their credit, and what ends it.

What frames mean is the business of `incoming`, a slice in each turn of the loop; each exchange has a task of its own
(`stream`). Here is when the socket is read, how answers get out, and what time ends: a visitor may leave so much of our
answers unread, and take nothing of one for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, cast

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from pyconnector.edge.visitors.http1.request_parser import BadRequest
from pyconnector.edge.visitors.http2.engine import server_engine
from pyconnector.edge.visitors.http2.fields import with_one_cookie
from pyconnector.edge.visitors.http2.incoming import Incoming
from pyconnector.edge.visitors.http2.outgoing import Outgoing
from pyconnector.edge.visitors.http2.request import is_grpc, visitor_request
from pyconnector.edge.visitors.http2.response import CONTINUE_FIELDS
from pyconnector.edge.visitors.http2.stream import VisitorStream
from pyconnector.edge.visitors.identity import VisitorIdentity
from pyconnector.edge.visitors.pages import MISDIRECTED
from pyconnector.edge.visitors.sockets import LEAST_RATE

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
    from pyconnector.edge.visitors.server import VisitorServer

    Headers = list[tuple[bytes, bytes]]

#: Bytes that the socket takes before streams wait for it.
WRITE_HIGH_WATER = 256 * 1024
#: Unread bytes of ours above which a visitor is cut off: only answers to its own frames can make so many.
MAX_UNSENT = 1024 * 1024
#: What one visitor's frames may cost in one turn of the loop (`RawFrame.cost`); the rest waits for others' turns.
SLICE = 32
#: A read of so many bytes is not made to wait: what a request or two may cost is done at once.
SMALL_READ, AT_ONCE = 2048, 24
#: Answers that a visitor may leave unread, and seconds after which one is. Those beyond are given up, the oldest first,
#: and no request is begun meanwhile: each holds bytes in the tunnel that others may have to wait behind.
MAX_UNREAD, UNREAD_TIMEOUT = 64, 20.0
#: Seconds for which a visitor is still read after the end, so that it can read why (RFC 9113 5.4.1).
LINGER = 2.0
#: Bytes that are read and thrown away meanwhile; whoever sends more does not care why.
MAX_DISCARDED = 1024 * 1024
#: Seconds for which a visitor's requests are waited for before it is asked to go.
GOODBYE_AFTER = 5.0
#: A GOAWAY frame that takes no stream back: 8 bytes, type 7, the highest stream, no error.
SOON_GOODBYE = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000")
_log = logging.getLogger("pyconnector.edge")


class Http2Visitor(asyncio.Protocol):
    """One socket of a visitor who speaks HTTP/2, from its first bytes to its close."""

    def __init__(self, server: VisitorServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._h2 = server_engine()
        self._incoming = Incoming(self._h2, self)
        self.streams: dict[int, VisitorStream] = {}
        self.closing = False
        self._held = False  # reading stopped: frames wait for their turn
        self._receiving = False
        self._continued: list[int] = []  # streams to be told 100, unless they are taken back in the same slice
        self._leaving = False  # the visitor said GOAWAY
        self._asked_to_go = False
        self._lost = False
        self._discarded = 0  # bytes that came after the end
        self._deadline: float | None = None
        self._lingered = False  # whether it has had some time to take what is left
        self.has_too_many_unread = False
        "Whether so many answers are unread that no further request is begun."

    def __repr__(self) -> str:
        state = "closing" if self.closing else "open"
        return f"<Http2Visitor {state}, {len(self.streams)} streams, {len(self._incoming)} bytes wait to be read>"

    # -- callbacks of the socket ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a socket whose first bytes follow at once."""
        self._socket = cast("asyncio.Transport", transport)
        self._socket.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._out = Outgoing(
            self._h2,
            self._socket,
            self._incoming.expect_updates,
            limit=self._server.settings.write_timeout,
        )
        peer = self._socket.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._arrival = self._server.arrival(transport)
        self._identity = VisitorIdentity(self._peer, self._arrival.scheme)
        self._by_proxy = self._server.proxies.trusts(self._peer)
        self._server.joined(self)
        self._set_idle()
        self.flush()
        if self._server.is_draining:
            self.drain()

    def data_received(self, data: bytes) -> None:
        """Frames came. Few are read at once, so that floods delay nobody's request; many wait for their turn."""
        if self.closing:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self._socket.abort()
            return
        self._incoming.feed(data)
        if self._held:
            return
        if len(self._incoming) > SMALL_READ and self._incoming.has_more:
            self._hold()
        else:
            self._work(AT_ONCE)

    def _hold(self) -> None:
        """Read no more, and go on with what there is in a later turn."""
        if not self._held:
            self._held = True
            if not self._socket.is_closing():
                self._socket.pause_reading()
        self._server.turns.add(self._work)

    def _work(self, units: int = SLICE) -> None:
        """Read a slice of what waits."""
        if not self.closing:
            self._receiving = True
            try:
                self._incoming.work(units)
                self._tell_to_continue()
            except BaseException:
                self.abort()
                raise
            finally:
                self._receiving = False
            self._out.flush()
            self._go_on()

    def _tell_to_continue(self) -> None:
        continued, self._continued = self._continued, []
        for stream_id in continued:
            if stream_id in self.streams and not self.closing:
                self._h2.send_headers(stream_id, CONTINUE_FIELDS)

    def _go_on(self) -> None:
        """Decide what follows a slice."""
        if self.closing:
            return
        if self._socket.get_write_buffer_size() > MAX_UNSENT:
            self.refused("it does not read what it asks for")
            self.abort()
        elif self._incoming.has_more:
            self._hold()
        elif self._held:
            self._held = False
            if not self._socket.is_closing():
                self._socket.resume_reading()

    def eof_received(self) -> bool:
        """Client disconnected: HTTP/2 knows no half of a connection."""
        self._abandon_all()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: whatever still runs for it is given up at once."""
        self.closing = self._lost = True
        self._server.left(self)
        self._abandon_all()

    def pause_writing(self) -> None:
        """The visitor takes less than comes."""
        self._out.paused = True

    def resume_writing(self) -> None:
        """The visitor took enough."""
        self._out.resume()

    # -- time and end --------------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """End what was idle for too long, or makes no progress. Called by the server every now and then."""
        if not self.closing:
            self._check_progress(now)
            if self._server.is_draining:
                self.drain()
        if self._deadline is None or now < self._deadline:
            return
        if not self.closing:
            self.close(ErrorCodes.NO_ERROR)
            return
        limit = self._server.settings.head_timeout
        if self._socket.get_write_buffer_size() and self._out.has_moved(limit * LEAST_RATE if self._lingered else 1):
            self._lingered = True
            self._deadline = now + limit
        else:
            self._socket.abort()

    def _check_progress(self, now: float) -> None:
        """Give up answers that are not taken: all of them where the socket takes too little."""
        limit = self._server.settings.write_timeout
        self._out.look(now)
        if self._out.is_stuck(now):
            self.refused(f"it has read less than {LEAST_RATE:g} bytes a second for {limit:g} s")
            self.abort()
            return
        for stream_id in self._out.stalled(now):
            self._give_up(stream_id, ErrorCodes.CANCEL, f"it has taken next to nothing of an answer for {limit:g} s")
        unread = self._out.unread(now, UNREAD_TIMEOUT)
        for stream_id in unread[: max(0, len(unread) - MAX_UNREAD)]:
            self._give_up(stream_id, ErrorCodes.ENHANCE_YOUR_CALM, f"more than {MAX_UNREAD} of its answers are unread")
        self.has_too_many_unread = len(unread) >= MAX_UNREAD
        self._out.flush()

    def _give_up(self, stream_id: int, code: ErrorCodes, reason: str) -> None:
        if self.forget(stream_id) is not None:
            self.refused(reason)
            with contextlib.suppress(ProtocolError):  # the visitor's reset came first
                self._h2.reset_stream(stream_id, code)

    def abort(self) -> None:
        """Cut the visitor off."""
        self.closing = True
        self._abandon_all()
        self._socket.abort()

    def drain(self) -> None:
        """See `server.VisitorConnection.drain`.

        Many clients take a GOAWAY for the end of their requests, against RFC 9113 6.8: where some are under way they
        are waited for, for a while.
        """
        if not self.streams or self._loop.time() >= self._server.draining_since + GOODBYE_AFTER:
            self._say_goodbye_soon()

    def _say_goodbye_soon(self) -> None:
        if self._asked_to_go or self.closing or self._lost or self._socket.is_closing():
            return
        self._asked_to_go = True
        self.flush()
        self._socket.write(SOON_GOODBYE)  # the library would take it for the end of the connection

    @property
    def is_busy(self) -> bool:
        """See `server.VisitorConnection.is_busy`."""
        return bool(self.streams)

    def _set_idle(self) -> None:
        self._deadline = self._loop.time() + self._server.settings.idle_timeout

    def close(self, code: ErrorCodes, reason: str = "") -> None:
        """Say goodbye, and close so that the visitor can still read it. Idempotent."""
        if self.closing:
            return
        if reason:
            _log.debug("Closed the HTTP/2 connection of %s: %s", self._peer, reason)
        self.closing = True
        self._abandon_all()
        if self._h2.state_machine.state.name != "CLOSED":
            self._h2.close_connection(code)
        self._deadline = self._loop.time() + LINGER
        self.flush()
        if self._lost or self._socket.is_closing():
            return
        if self._held:
            self._socket.resume_reading()  # or its end would not be seen
        try:
            if self._socket.can_write_eof():
                self._socket.write_eof()
            else:
                self._socket.close()
        except OSError:  # asyncio's own transports raise where the visitor has reset
            self._socket.abort()

    def _abandon_all(self) -> None:
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.abandon()

    # -- for the streams -----------------------------------------------------------------------------------------

    async def send_fields(self, stream_id: int, fields: Headers, *, end: bool = False) -> None:
        """See `Carrier.send_fields`."""
        try:
            await self._out.send_fields(stream_id, fields, end=end)
        except ProtocolError:
            # Half of the block may be in the state of the compression: nothing after it would be understood.
            self.abort()
            raise

    async def send_data(self, stream_id: int, data: bytes) -> None:
        """See `Carrier.send_data`."""
        await self._out.send_data(stream_id, data)

    def end(self, stream_id: int) -> None:
        """See `Carrier.end`."""
        self._h2.end_stream(stream_id)

    def reset(self, stream_id: int, *, failed: bool) -> None:
        """See `Carrier.reset`."""
        self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR if failed else ErrorCodes.NO_ERROR)
        self.flush()

    def acknowledge(self, stream_id: int, count: int) -> None:
        """See `Carrier.acknowledge`."""
        if not self.closing:
            self._h2.acknowledge_received_data(count, stream_id)
            if not self._receiving:
                self.flush()

    def over(self, stream: VisitorStream) -> None:
        """See `Carrier.over`."""
        if self.streams.get(stream.stream_id) is stream:
            del self.streams[stream.stream_id]
        if not self.streams and not self.closing:
            if self._leaving:
                self.close(ErrorCodes.NO_ERROR)
                return
            self._set_idle()
            if self._server.is_draining:
                self.drain()

    def flush(self) -> None:
        """See `Carrier.flush`."""
        self._out.flush()

    # -- for the incoming frames ---------------------------------------------------------------------------------

    def now(self) -> float:
        """See `Receiver.now`."""
        return self._loop.time()

    def begin(self, stream_id: int, fields: Headers, *, ended: bool) -> None:
        """See `Receiver.begin`."""
        request: VisitorRequest | BadRequest
        peer, identity = self._peer, self._identity
        try:
            request = visitor_request(with_one_cookie(fields), ended=ended)
        except BadRequest as fault:
            request = fault
        else:
            request.scheme = self._arrival.scheme
            if self._by_proxy:
                request.scheme, peer = self._server.proxies.told(request.headers, self._peer)
                identity = VisitorIdentity(peer, request.scheme, self._peer)
            if self._arrival.is_misdirected(request.host):
                request = BadRequest(MISDIRECTED, 421)
        stream = VisitorStream(stream_id, request, self, self._server, grpc=is_grpc(fields), peer=peer)
        self.streams[stream_id] = stream
        self._deadline = None
        if not isinstance(request, BadRequest) and request.expects_continue and not ended:
            self._continued.append(stream_id)
        stream.start(identity)

    def forget(self, stream_id: int) -> VisitorStream | None:
        """See `Receiver.forget`."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            stream.abandon()
            if not self.streams:
                self._set_idle()
        return stream

    def goodbye(self) -> None:
        """See `Receiver.goodbye`."""
        self._leaving = True
        if not self.streams:
            self.close(ErrorCodes.NO_ERROR)

    def windows_moved(self) -> int:
        """See `Receiver.windows_moved`."""
        return self._out.windows_moved()

    def refused(self, reason: str) -> None:
        """See `Receiver.refused`."""
        _log.debug("Refused what an HTTP/2 visitor from %s sent: %s", self._peer, reason)
