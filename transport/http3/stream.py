"""One HTTP/3 request and its response as a `Stream` of their bodies, with their heads and their datagrams beside it.

It has the face of `transport.http2.Http2Stream`, so that whoever carries a flow need not know which of them it is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.transport.errors import ConnectionClosed, StreamBusy, StreamClosed, StreamReset
from pyconnector.transport.seam import RECEIVE_LIMIT, Stream
from pyconnector.web.http3.frames import (
    DATA,
    HEADERS,
    ErrorCode,
    Http3Error,
    encode_frame,
    message_reader,
)
from pyconnector.web.varints import encode_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pyconnector.transport.buffers.stream import BufferedStream
    from pyconnector.transport.http3.connection import Http3Connection

    Fields = list[tuple[bytes, bytes]]

#: Frames of one stream that are read in one turn of the loop: empty and unknown ones cost their sender two bytes.
FRAMES_A_TURN: Final = 256
#: Datagrams that wait for whoever will take them.
DATAGRAMS_AHEAD: Final = 16
#: Interim responses (1xx) that are passed over before a final one.
MAX_INTERIM: Final = 32
_DATA_TYPE: Final = bytes([DATA])


class Http3Stream(Stream):
    """A stream of `Http3Connection`. Its head is asked for first."""

    __slots__ = (
        "_connection",
        "_datagram_handler",
        "_datagrams",
        "_ended",
        "_head_sent",
        "_is_tired",
        "_quic",
        "_reader",
        "_receiving_over",
        "_sending_over",
        "datagrams_dropped",
        "head",
        "stream_id",
    )

    def __init__(self, connection: Http3Connection, quic: BufferedStream) -> None:
        self.stream_id = quic.stream_id
        self.head: Fields | None = None
        "What the peer's head says, once that is there."
        self.datagrams_dropped = 0
        "Those that came while nobody took them, and that found no room on the way out."
        self._connection = connection
        self._quic = quic
        self._reader = message_reader()
        self._ended = False  # whether the peer's end was read
        self._is_tired = False  # whether what else is there waits for another turn
        self._head_sent = False
        self._receiving_over = self._sending_over = False
        self._datagrams: deque[bytes] = deque()
        self._datagram_handler: Callable[[bytes], None] | None = None

    def __repr__(self) -> str:
        return f"<Http3Stream {self._quic!r}>"

    # -- heads ---------------------------------------------------------------------------------------------------

    async def request(self) -> Fields:
        """Wait for the head of the request, and return it. Cancel at any time. Raises as `receive`."""
        return await self._peer_head() if self.head is None else self.head

    async def response(self) -> Fields:
        """Wait for the head of the final response, and return it. Cancel at any time. Raises as `receive`."""
        if self.head is not None:
            return self.head
        for _ in range(MAX_INTERIM):
            head = await self._peer_head()
            status = next((value for name, value in head if name == b":status"), b"")
            if status[:1] != b"1" or len(status) != 3:
                return head
            self.head = None
        raise self._connection.fail(Http3Error(ErrorCode.EXCESSIVE_LOAD, "too many interim responses"))

    def send_head(self, fields: Fields) -> None:
        """Queue the head of what is sent. Raises as `send`."""
        if self._head_sent:
            raise StreamBusy(f"stream {self.stream_id} has its head already")
        self._quic.send_nowait(encode_frame(HEADERS, self._connection.fields.encode(self.stream_id, fields)))
        self._head_sent = True

    async def _peer_head(self) -> Fields:
        while True:
            is_tired = self._checked_piece(1) is None
            head = self.head
            if head is not None:
                return head
            if self._ended and not is_tired:
                raise self._broken(Http3Error(ErrorCode.REQUEST_INCOMPLETE, "a message ends before its head"))
            await self._more()

    # -- datagrams -----------------------------------------------------------------------------------------------

    @property
    def largest_datagram(self) -> int:
        """Bytes of the longest payload that `send_datagram` sends outside of the stream now; 0 where it sends none."""
        connection = self._connection
        if not connection.carries_datagrams:
            return 0
        return max(connection.quic.largest_datagram() - len(encode_integer(self.stream_id // 4)), 0)

    def send_datagram(self, payload: bytes) -> bool | None:
        """Send an HTTP datagram outside of the stream: True where it is on its way, False where it found no room
        (dropped, counted), None where it must go as a capsule, since the peer takes none or the path none so long."""
        connection = self._connection
        largest = self.largest_datagram
        if not largest or len(payload) > largest:
            return None
        sent = connection.send_datagram(self.stream_id, payload)
        self.datagrams_dropped += not sent
        return sent

    def set_datagram_handler(self, handler: Callable[[bytes], None] | None) -> None:
        """Hand each HTTP datagram of this request to `handler` at once, those that wait in this call. It must not raise
        or block."""
        self._datagram_handler = handler
        while handler is not None and self._datagrams:
            handler(self._datagrams.popleft())

    def datagram_arrived(self, payload: bytes) -> None:
        """For the connection."""
        if self._datagram_handler is not None:
            self._datagram_handler(payload)
        elif len(self._datagrams) < DATAGRAMS_AHEAD and not self._receiving_over:
            self._datagrams.append(payload)
        else:
            self.datagrams_dropped += 1

    # -- receiving -----------------------------------------------------------------------------------------------

    @property
    def peer_ended(self) -> bool:
        """Whether the peer's end arrived, and nothing of its body is left."""
        return self._ended or (self._quic.has_received_all and self._reader.is_between)

    @property
    def is_aborted(self) -> bool:
        """Whether the peer reset its sending side."""
        return self._quic.is_aborted

    async def receive(self, limit: int = RECEIVE_LIMIT) -> bytes:
        """See `Stream.receive`."""
        while (data := self.receive_nowait(limit)) is None:
            await self._more()
        return data

    def receive_nowait(self, limit: int = RECEIVE_LIMIT) -> bytes | None:
        """See `Stream.receive_nowait`."""
        if self._is_tired:
            return None
        while True:
            data = self._checked_piece(limit)
            if data is None or data:
                return data
            if self._ended:
                return b""
            try:
                received = self._quic.receive_nowait(RECEIVE_LIMIT)
            except StreamReset:
                self._receiving_is_over()
                raise
            if received is None:
                return None
            self._fed(received)

    async def _more(self) -> None:
        """Wait for bytes, or for a turn to read what is there."""
        if self._is_tired:
            await self._connection.turn()
            self._is_tired = False
            return
        try:
            self._fed(await self._quic.receive(RECEIVE_LIMIT))
        except StreamReset:
            self._receiving_is_over()
            raise

    def _fed(self, data: bytes) -> None:
        if data:
            self._reader.feed(data)
            return
        self._ended = True
        self._receiving_is_over()
        if not self._reader.is_between:
            raise self._broken(Http3Error(ErrorCode.FRAME_ERROR, "a stream ends within a frame"))

    def _checked_piece(self, limit: int) -> bytes | None:
        try:
            return self._next_piece(limit)
        except Http3Error as error:
            raise self._broken(error) from None

    def _next_piece(self, limit: int) -> bytes | None:
        """Return body that is there, b"" for none, None where too many frames brought none; heads are kept."""
        pieces: list[bytes] = []
        size = 0
        for _ in range(FRAMES_A_TURN):
            found = self._reader.next(limit - size)
            if found is None:
                break
            kind, payload = found
            if kind == HEADERS:
                self._head_came(payload)
                break
            if payload:
                if self.head is None:
                    raise Http3Error(ErrorCode.FRAME_UNEXPECTED, "a body comes before its head")
                pieces.append(payload)
                size += len(payload)
                if size == limit:
                    break
        else:
            self._is_tired = True
            if not pieces:
                return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _head_came(self, section: bytes) -> None:
        # Of CONNECT, which is all that is carried here, nothing but DATA may follow the head (RFC 9114 4.4).
        if self.head is not None:
            raise Http3Error(ErrorCode.FRAME_UNEXPECTED, "a second head comes")
        self.head = self._connection.fields.decode(self.stream_id, section)

    def _broken(self, error: Http3Error) -> ConnectionClosed | StreamReset:
        if error.code is ErrorCode.REQUEST_INCOMPLETE:  # of this request alone (RFC 9114 4.1)
            self.reset(error.code)
            return StreamReset(error.code)
        return self._connection.fail(error)

    def stop(self, code: int = 0) -> None:
        """See `Stream.stop`; the code is HTTP/3's, by default that of an end in good order."""
        self._datagram_handler = None
        self._quic.stop(code or ErrorCode.NO_ERROR)
        self._receiving_is_over()

    def read_for(self, reader: Hashable) -> None:
        """See `Stream.read_for`."""
        self._quic.read_for(reader)

    # -- sending -------------------------------------------------------------------------------------------------

    def engine_unsent_backlog(self) -> int:
        """Return how many bytes were queued and never sent yet."""
        return self._quic.engine_unsent_backlog()

    async def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        if self.send_nowait(data):
            await self.drain()

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        """See `Stream.send_nowait`."""
        if not self._head_sent:
            raise StreamClosed(f"stream {self.stream_id} needs its head first")
        if finish:
            self._sending_is_over()
        elif not data:
            return False
        whole = _DATA_TYPE + encode_integer(len(data)) + data if data else b""
        return self._quic.send_nowait(whole, finish=finish)

    async def drain(self) -> None:
        """See `Stream.drain`."""
        await self._quic.drain()

    def finish(self) -> None:
        """See `Stream.finish`."""
        self._quic.finish()
        self._sending_is_over()

    def reset(self, code: int = 0) -> None:
        """See `Stream.reset`; the code is HTTP/3's, by default that of a request that was given up, or of a destination
        that broke off (RFC 9114 4.4)."""
        usual = ErrorCode.REQUEST_CANCELLED if self._connection.is_client else ErrorCode.CONNECT_ERROR
        self._quic.reset(code or usual)
        self._sending_is_over()

    def set_abort_callback(self, callback: Callable[[], None] | None) -> None:
        """See `Stream.set_abort_callback`."""
        self._quic.set_abort_callback(callback)

    # -- the end -------------------------------------------------------------------------------------------------

    def _receiving_is_over(self) -> None:
        self._receiving_over = True
        self._look_over()

    def _sending_is_over(self) -> None:
        self._sending_over = True
        self._look_over()

    def _look_over(self) -> None:
        if self._receiving_over and self._sending_over:
            self._datagrams.clear()
            self._connection.forget(self)
