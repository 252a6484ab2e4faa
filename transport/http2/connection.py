"""One HTTP/2 connection of either role: many requests, their frames and their credit, and its end.

What frames cost and mean is read by `incoming`, a slice in each turn of the loop; what is sent is shared out among the
streams by `outgoing`. Credit goes back as bodies are consumed. A silent peer is asked for a sign of life.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.transport.buffers.connection import BufferedConnection
from pyconnector.transport.errors import ConnectionClosed, TransportError
from pyconnector.transport.http2.core import Core
from pyconnector.transport.http2.incoming import Incoming
from pyconnector.transport.http2.liveness import Liveness
from pyconnector.transport.http2.outgoing import Outgoing
from pyconnector.transport.http2.reception import Reception
from pyconnector.transport.http2.stream import Fields, Http2Stream
from pyconnector.transport.seam import ConnectionClosedInfo, Statistics
from pyconnector.web.http2.frames import ErrorCode, NoPreface

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.buffers.stream import BufferedStream
    from pyconnector.transport.http2.settings import Http2Settings

#: What one peer's frames may cost in one turn of the loop (`RawFrame.cost`); the rest waits for others' turns.
SLICE = 64
#: Unread bytes of ours above which a peer is cut off: only answers to its own frames can make so many.
MAX_UNSENT = 4 * 1024 * 1024
#: Seconds that a socket has to take what is left after the end.
LINGER = 1.0
#: Longest text that a GOAWAY carries or is shown of.
MAX_REASON = 256
#: What a stream that was opened without a head asks for.
_PLAIN_REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/"),
]


class Http2Connection(BufferedConnection):
    """A client's end opens streams; a server's end answers them and cannot open any."""

    def __init__(
        self,
        socket: asyncio.Transport,
        *,
        client: bool,
        settings: Http2Settings,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`later` runs a piece of work in a later turn of the loop, among others that wait for that."""
        super().__init__(_address(socket, "sockname"), _address(socket, "peername"))
        self.is_client = client
        self.closing = False
        "No frame is read any more."
        self.unsent = 0
        "Bytes of bodies that wait to be sent."
        self._settings = settings
        self._socket = socket
        self._later = later or self._loop.call_soon
        self._core = Core(settings, client=client)
        self._outgoing = Outgoing(self._core, socket, self)
        self._next_id = 1
        self.consumed_total = 0
        "Bytes that were taken, or dropped, and that the common window was not opened for yet."
        self._held = False  # reading stopped: frames wait for their turn
        self._flush_due = False
        self.goaway: ConnectionClosedInfo | None = None
        "What the peer said when it took its leave, while streams are still under way."
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._bytes_received = 0
        self._liveness = Liveness(self, settings)
        reception = Reception(self._core, self, self._outgoing, self._liveness, settings)
        self._incoming = Incoming(self, reception.take, settings, client=client)
        self._reader = self._incoming.reader
        self.flush()

    # -- the socket's reports (see `socket`) ---------------------------------------------------------------------

    def socket_room(self) -> memoryview:
        """Where the socket writes what it reads; `socket_filled` is called before anything else asks for that."""
        return self._reader.room()

    def socket_filled(self, count: int) -> None:
        """Frames came."""
        if self.closing:
            self._reader.clear()
            return
        self._liveness.heard()
        self._bytes_received += count
        try:
            self._reader.filled(count)
        except NoPreface as error:
            self.fail(ErrorCode.PROTOCOL_ERROR, str(error))
            return
        if not self._held:
            self._work()

    def socket_received(self, data: bytes) -> None:
        """Frames came by other ways than that space."""
        while data:
            room = self.socket_room()
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.socket_filled(size)
            data = data[size:]

    def socket_paused(self, *, paused: bool) -> None:
        """The socket has enough, or takes more again."""
        self._outgoing.paused = paused
        if not paused and self.closed is None:
            self._pump()
            self.streams_available()

    def socket_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self.closing = True
        reason = f"the socket broke off ({error.strerror or error})" if isinstance(error, OSError) else ""
        goaway = self.goaway
        if goaway is not None and not reason:
            self.connection_lost(goaway)
        else:
            reason = reason or "the peer closed the connection"
            self.connection_lost(ConnectionClosedInfo(code=0, reason=reason, local=False, idle=False))
        if not self._gone.done():
            self._gone.set_result(None)

    # -- requests ------------------------------------------------------------------------------------------------

    async def open_request(self, head: Fields, *, end: bool = False) -> Http2Stream:
        """Send a request's head, waiting while the peer's stream limit is reached. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended, or takes no more requests.
        """
        while self.closed is None and self.goaway is None:
            if self._has_room:
                return self._begin(head, end=end)
            waiter = self._loop.create_future()
            self._open_waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._open_waiters:
                    self._open_waiters.remove(waiter)
                raise
        raise self.closed_error()

    async def ping(self) -> float:
        """Return how long the peer took to answer a PING: it has read all that was sent before. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended first.
        """
        if self.closed is not None:
            raise self.closed_error()
        taken = await self._liveness.ask()
        if self.closed is not None:
            raise self.closed_error()
        return taken

    def _begin(self, head: Fields, *, end: bool) -> Http2Stream:
        stream = Http2Stream(
            self, self._next_id, None, self._settings.initial_stream_window, self._core.first_send_window
        )
        self._next_id += 2
        self._core.send_fields(stream.stream_id, head, end=end)
        self.add_stream(stream)
        if end:
            stream.ends_with_head()
        self.flush_soon()
        return stream

    @property
    def _has_room(self) -> bool:
        return len(self.streams) < self._core.max_streams and not self._outgoing.paused

    # -- hooks of BufferedConnection -----------------------------------------------------------------------------

    def engine_open_stream(self) -> BufferedStream | None:
        """See `BufferedConnection`. A request without a meaning of its own."""
        if not self.is_client:
            raise TransportError("over HTTP/2 only the edge opens streams")
        if self.goaway is not None:
            raise self.closed_error()
        return self._begin(_PLAIN_REQUEST, end=False) if self._has_room else None

    def engine_send_datagram(self, data: bytes) -> bool:
        """See `BufferedConnection`. HTTP/2 carries none."""
        return False

    def engine_unsent_total(self) -> int:
        """See `BufferedConnection`."""
        return self.unsent

    def engine_close(self, code: int, reason: str) -> None:
        """See `BufferedConnection`."""
        self._close_socket(ErrorCode.NO_ERROR if code == 0 else code, reason)

    def statistics(self) -> Statistics:
        """See `Connection.statistics`."""
        latest, smallest = self._liveness.round_trips
        return Statistics(
            engine="h2",
            bytes_sent=self._outgoing.written,
            bytes_received=self._bytes_received,
            rtt_smoothed=latest,
            rtt_latest=latest,
            rtt_minimum=smallest,
            streams_open=len(self.streams),
            bytes_undelivered=self.unsent + self._socket.get_write_buffer_size(),
        )

    async def wait_closed(self) -> ConnectionClosedInfo:
        """See `Connection.wait_closed`: the socket is gone then too. Cancel at any time."""
        info = await super().wait_closed()
        await asyncio.shield(self._gone)
        return info

    # -- for the streams -----------------------------------------------------------------------------------------

    def ready(self, stream: Http2Stream) -> None:
        """`stream` has something to send."""
        self._outgoing.add(stream)
        self.flush_soon()

    def reset_stream(self, stream: Http2Stream) -> None:
        """Send RST_STREAM: because all is said and the rest of the request is not wanted, or because it is given up."""
        if self.streams.get(stream.stream_id) is not stream or self.closed is not None:
            return
        if stream.end_sent:
            code = ErrorCode.CANCEL if self.is_client else ErrorCode.NO_ERROR
        else:
            code = ErrorCode.CANCEL if self.is_client else ErrorCode.INTERNAL_ERROR
        self._core.reset(stream.stream_id, code)
        self.over(stream)
        self.flush_soon()

    def consumed(self, stream: Http2Stream, count: int) -> None:
        """Bytes of a stream were taken: give the peer credit for them."""
        if self.closed is not None:
            return
        self.consumed_total += count
        if self.consumed_total >= self._settings.connection_window // 4:
            self._core.consumed(self.consumed_total)
            self.consumed_total = 0
            self.flush_soon()
        if stream.stream_id in self.streams and (more := stream.take_credit(self._settings.stream_window)):
            self._core.open_window(stream.stream_id, more)
            self.flush_soon()

    def data_sent(self) -> None:
        """See `Sender.data_sent`."""
        self._incoming.expect_updates()

    def sent(self, stream: Http2Stream) -> None:
        """All that `stream` had to say is out."""
        if stream.peer_ended:
            self.over(stream)
        elif stream.stopped:
            self.reset_stream(stream)

    def flush_soon(self) -> None:
        """Send what is queued at the end of this turn."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def flush(self) -> None:
        """Hand the socket what is queued."""
        self._outgoing.flush()

    def _flush_now(self) -> None:
        self._flush_due = False
        if self.closed is None:
            self._pump()

    def _pump(self) -> None:
        more = self._outgoing.pump()
        if self.draining:
            self.wake_senders()
        if more:
            self.flush_soon()

    def over(self, stream: Http2Stream) -> None:
        """Both directions of a stream have ended."""
        stream.drop_queued()
        self.forget_stream(stream.stream_id, peer_opened=not self.is_client)
        if self.is_client:
            self.streams_available()
        if self.goaway is not None and not self.streams and self.closed is None:
            info = self.goaway
            self._close_socket(ErrorCode.NO_ERROR, "")
            self.connection_lost(info)

    # -- incoming frames -----------------------------------------------------------------------------------------

    def now(self) -> float:
        """See `Receiver.now`."""
        return self._loop.time()

    def fail(self, code: ErrorCode, reason: str) -> None:
        """See `Receiver.fail`."""
        if self.closed is None:
            self._close_socket(code, reason)
            self.connection_lost(ConnectionClosedInfo(code=int(code), reason=reason, local=True, idle=False))

    def _work(self) -> None:
        """Read a slice of what waits."""
        if self.closing:
            return
        self._incoming.work(SLICE)
        self._after_work()

    def _after_work(self) -> None:
        if self.closing:
            return
        self._pump()
        if self._socket.get_write_buffer_size() > MAX_UNSENT:
            self.fail(ErrorCode.ENHANCE_YOUR_CALM, "it does not read what it asks for")
            self._socket.abort()
        elif self._incoming.has_more:
            if not self._held:
                self._held = True
                self._socket.pause_reading()
            self._later(self._work)
        elif self._held:
            self._held = False
            self._socket.resume_reading()

    def find(self, stream_id: int) -> Http2Stream | None:
        """Return a stream that is not over."""
        stream = self.streams.get(stream_id)
        return stream if isinstance(stream, Http2Stream) else None

    def is_idle(self, stream_id: int) -> bool:
        """Whether nobody opened a stream yet."""
        return self._core.is_idle(stream_id, self._next_id)

    def peer_reset(self, stream: Http2Stream, code: int) -> None:
        """The peer gave a stream up, or this side does as if it had."""
        stream.peer_gone(code)
        self.over(stream)

    def peer_leaves(self, info: ConnectionClosedInfo, last: int) -> None:
        """The peer opens no more streams, and takes none of ours beyond `last`."""
        self.goaway = info
        self.streams_available()
        for stream in tuple(self.streams.values()):
            if self.is_client and stream.stream_id > last and isinstance(stream, Http2Stream):
                self.peer_reset(stream, int(ErrorCode.REFUSED_STREAM))
        if (info.code or not self.streams) and self.closed is None:
            self._close_socket(ErrorCode.NO_ERROR, "")
            self.connection_lost(info)

    def closed_error(self) -> ConnectionClosed:
        """See `BufferedConnection.closed_error`."""
        if self.closed is None and self.goaway is not None:
            return ConnectionClosed(self.goaway.reason, code=self.goaway.code)
        return super().closed_error()

    # -- time and end --------------------------------------------------------------------------------------------

    def connection_lost(self, info: ConnectionClosedInfo) -> None:
        """See `BufferedConnection.connection_lost`."""
        super().connection_lost(info)
        self._liveness.end()

    def _close_socket(self, code: ErrorCode | int, reason: str) -> None:
        """Say why, and close so that the peer can still read it. Idempotent."""
        if self.closing:
            return
        self.closing = True
        self._core.goodbye(code, reason.encode()[:MAX_REASON])
        self.flush()
        if not self._socket.is_closing():
            if self._held:
                self._socket.resume_reading()  # or its end would not be seen
            self._socket.close()
        self._loop.call_later(LINGER, self._cut_off)

    # -- for `liveness` ------------------------------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """Bytes that have left the socket."""
        return self._outgoing.written - self._socket.get_write_buffer_size()

    @property
    def is_congested(self) -> bool:
        """Whether the socket has more to send than it takes."""
        return self._outgoing.paused

    def send_ping(self, data: bytes) -> None:
        """Ask the peer for a sign of life."""
        self._core.ping(data)
        self.flush_soon()

    def fell_silent(self, reason: str) -> None:
        """Give the peer up."""
        self.closing = True
        self.connection_lost(ConnectionClosedInfo(code=0, reason=reason, local=True, idle=True))
        self._socket.abort()

    def _cut_off(self) -> None:
        if not self._gone.done():
            self._socket.abort()


def _address(socket: asyncio.Transport, which: str) -> tuple[str, int]:
    found = socket.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else ("", 0)
