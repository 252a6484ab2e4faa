"""One HTTP/2 request and its response as a `Stream` of their bodies, with their field sections beside it.

RST_STREAM ends both directions at once (RFC 9113 5.4.2): `reset` gives up what was not received too, and `stop` waits
with it until everything is sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.errors import StreamBusy, StreamReset

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pyconnector.transport.http2.connection import Http2Connection

#: Names in lower case, pseudo fields first; what is sent must be fit for HTTP/2.
Fields: TypeAlias = list[tuple[bytes, bytes]]

#: What a server's stream says first where its user said nothing.
DEFAULT_HEAD: Fields = [(b":status", b"200")]
#: Interim responses (1xx) that are passed over before a final one.
MAX_INTERIM = 32


class _End:
    """The end of what is sent, in the queue."""

    __slots__ = ()


_END = _End()
_Item: TypeAlias = "bytes | Fields | _End"


class Http2Stream(BufferedStream):
    """A stream of `Http2Connection`."""

    __slots__ = (
        "_at",
        "_backlog",
        "_credit",
        "_head_waiter",
        "_link",
        "_queue",
        "_window",
        "bodiless",
        "end_sent",
        "fields",
        "head",
        "interim",
        "peer_ended",
        "receive_window",
        "send_window",
        "stopped",
        "trailers",
    )

    def __init__(
        self, connection: Http2Connection, stream_id: int, head: Fields | None, window: int, send_window: int
    ) -> None:
        """`head` is that of the request, at a server; the windows are what the peer and this side may send at first."""
        super().__init__(connection, stream_id)
        self.head = head
        "What the peer's head says: of the request at a server, of the response at a client once it is there."
        self.trailers: Fields = []
        "What followed the peer's body, once that is at its end."
        self.fields = connection.is_client
        "Whether the head of what is sent is queued or out."
        self.bodiless = False
        "Whether the peer's head was its last word."
        self.interim = 0
        self.receive_window = window
        "Bytes of body that the peer may still send."
        self.send_window = send_window
        "Bytes of body that this side may still send; below 0 where the peer changed its mind."
        self.peer_ended = False
        self.end_sent = False
        self.stopped = False
        self._link = connection
        self._queue: deque[_Item] = deque()
        self._at = 0  # bytes of the first piece that are out
        self._backlog = 0
        self._window = window
        self._credit = 0
        self._head_waiter: asyncio.Future[None] | None = None

    # -- field sections ------------------------------------------------------------------------------------------

    def send_head(self, fields: Fields) -> None:
        """Queue the head of a response. It leaves in the same turn as what is sent behind it. Raises as `send`."""
        if self.fields:
            raise StreamBusy(f"stream {self.stream_id} has its head already")
        self.check_sendable()
        self.fields = True
        self._queue.append(fields)
        self._link.ready(self)

    def send_trailers(self, fields: Fields) -> None:
        """Queue the trailers, which end the stream. Raises as `send`."""
        self.check_sendable()
        if not self.fields:
            self.send_head(DEFAULT_HEAD)
        self._queue.append(fields)
        self.finish()

    async def request(self) -> Fields:
        """Return the head of the request, which a server has from the start. As of `Http3Stream`, which waits."""
        return self.head or []

    @property
    def largest_datagram(self) -> int:
        """Return 0: see `send_datagram`."""
        return 0

    def send_datagram(self, payload: bytes) -> bool | None:
        """Return None: over HTTP/2 datagrams go as capsules. As of `Http3Stream`."""
        return None

    def set_datagram_handler(self, handler: Callable[[bytes], None] | None) -> None:
        """Do nothing: see `send_datagram`."""

    async def response(self) -> Fields:
        """Wait for the head of the response, and return it. Cancel at any time.

        Raises:
            StreamReset, ConnectionClosed: it will not come.
            StreamBusy: another task is waiting for it.
        """
        while self.head is None:
            if self.is_aborted:
                raise StreamReset(self._abort_code)
            if self._connection.closed is not None:
                raise self._connection.closed_error()
            if self._head_waiter is not None:
                raise StreamBusy(f"another task waits for the response on stream {self.stream_id}")
            waiter = self._head_waiter = self._connection.loop.create_future()
            try:
                await waiter
            finally:
                self._head_waiter = None
        return self.head

    def ends_with_head(self) -> None:
        """The request has no body: its end is out with its head."""
        self.finish()
        self._queue.clear()
        self.end_sent = True

    def head_received(self, head: Fields) -> None:
        """The response's head is there."""
        self.head = head
        self._wake_head()

    # -- what the connection sends -------------------------------------------------------------------------------

    @property
    def has_queued(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._queue)

    @property
    def has_body_next(self) -> bool:
        """Whether a piece of the body comes next, or the end."""
        return bool(self._queue) and type(self._queue[0]) is not list

    def take_fields(self) -> Fields | None:
        """Take the field section that comes next, if one does; `end_sent` where it ends the stream."""
        queue = self._queue
        first = queue[0]
        if not isinstance(first, list):
            return None
        queue.popleft()
        if queue and queue[0] is _END:
            queue.popleft()
            self.end_sent = True
        return first

    def take_data(self, limit: int) -> tuple[bytes, bool]:
        """Take up to `limit` bytes that come next from the queue, and say whether the end of the stream goes with them.

        Whatever `limit` is, an end that nothing stands before is taken.
        """
        queue = self._queue
        pieces: list[bytes] = []
        while queue and isinstance(item := queue[0], bytes):
            at = self._at
            if len(item) - at > limit:
                if limit:
                    pieces.append(item[at : at + limit])
                    self._at += limit
                break
            pieces.append(item[at:] if at else item)
            limit -= len(item) - at
            self._at = 0
            queue.popleft()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._backlog -= len(data)
        self._link.unsent -= len(data)
        if queue and queue[0] is _END:
            queue.popleft()
            self.end_sent = True
        return data, self.end_sent

    def drop_queued(self) -> None:
        """Nothing more will be sent."""
        self._queue.clear()
        self._link.unsent -= self._backlog
        self._backlog = self._at = 0

    # -- what the connection asks and tells ----------------------------------------------------------------------

    def take_credit(self, largest: int) -> int:
        """Return how much the peer's window is to be opened by now; 0 where that can wait.

        Whoever took half of the window at once keeps up with the path: the window doubles, up to `largest`.
        """
        if self.peer_ended or self.stopped or self._credit < self._window // 2:
            return 0
        credit, self._credit = self._credit, 0
        more = min(self._window, largest - self._window)
        self._window += more
        self.receive_window += credit + more
        return credit + more

    def peer_gone(self, code: int) -> None:
        """The peer reset the stream, and with it both directions."""
        if not self.peer_ended:
            self.peer_ended = True
            self.peer_reset(code)
        self.peer_stopped(code)
        self.drop_queued()
        self._wake_head()

    def connection_lost(self) -> None:
        """See `BufferedStream.connection_lost`."""
        super().connection_lost()
        self._wake_head()

    def _wake_head(self) -> None:
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- hooks of BufferedStream ---------------------------------------------------------------------------------

    def engine_write(self, data: bytes, finish: bool) -> None:
        """See `BufferedStream.engine_write`."""
        if not self.fields:
            self.fields = True
            self._queue.append(DEFAULT_HEAD)
        if data:
            self._queue.append(bytes(data))
            self._backlog += len(data)
            self._link.unsent += len(data)
        if finish:
            self._queue.append(_END)
        self._link.ready(self)

    def engine_unsent_backlog(self) -> int:
        """See `BufferedStream.engine_unsent_backlog`."""
        return self._backlog

    def engine_reset(self, code: int) -> None:
        """See `BufferedStream.engine_reset`. What the peer sends from here on is dropped too."""
        self.drop_queued()
        self.give_up_receiving()
        self._link.reset_stream(self)

    def engine_stop(self, code: int) -> None:
        """See `BufferedStream.engine_stop`."""
        self.stopped = True
        if self.end_sent:
            self._link.reset_stream(self)

    def engine_consumed(self, count: int) -> None:
        """See `BufferedStream.engine_consumed`."""
        self._credit += count
        self._link.consumed(self, count)
