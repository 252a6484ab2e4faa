"""One HTTP/3 connection of either role, over a QUIC connection: its requests, its control streams, its datagrams.

Bodies are read from QUIC as they are consumed, so that QUIC's credit is theirs. What else a peer sends is read by a
task for each of its few unidirectional streams, a piece in each turn of the loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from pyconnector.transport.errors import ConnectionClosed, TransportError
from pyconnector.transport.http3.field_sections import MAX_FIELDS, FieldSections
from pyconnector.transport.http3.stream import Http3Stream
from pyconnector.web.http3 import frames
from pyconnector.web.http3.frames import ErrorCode, Http3Error, control_reader, encode_frame
from pyconnector.web.http3.settings import (
    ENABLE_CONNECT_PROTOCOL,
    H3_DATAGRAM,
    MAX_FIELD_SECTION_SIZE,
    QPACK_BLOCKED_STREAMS,
    QPACK_MAX_TABLE_CAPACITY,
    encode_datagram,
    encode_settings,
    parse_datagram,
    parse_settings,
)
from pyconnector.web.varints import read_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from pyconnector.transport.buffers.connection import BufferedConnection
    from pyconnector.transport.buffers.stream import BufferedStream
    from pyconnector.transport.seam import Address, ConnectionClosedInfo, Statistics, Stream

    Fields = list[tuple[bytes, bytes]]

#: ALPN of HTTP/3 (RFC 9114 3.1).
ALPN: Final = "h3"
#: Unidirectional streams that a peer may open: the three that there are, and a few that mean nothing (RFC 9114 6.2.3).
UNIDIRECTIONAL: Final = 16
#: Bytes of a unidirectional stream that are read in one turn of the loop.
PIECE: Final = 4 * 1024
_CONTROL, _PUSH, _ENCODER, _DECODER = 0, 1, 2, 3


class Http3Connection:
    """A client's end opens requests; a server's end is handed them."""

    def __init__(
        self,
        quic: BufferedConnection,
        *,
        client: bool,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`later` runs a piece of work in a later turn of the loop. Call `begin` next.

        Raises:
            TransportError: the peer does not allow the streams that HTTP/3 needs.
        """
        self.is_client = client
        self.quic = quic
        self.fields = FieldSections()
        self.peer_settings: dict[int, int] | None = None
        "What the peer said; None before it did."
        self.leaving = False
        "Whether the peer takes no new requests (GOAWAY)."
        self.datagrams_dropped = 0
        "Of no request that is under way."
        self._loop = asyncio.get_running_loop()
        self._later = later or self._loop.call_soon
        self._on_request: Callable[[Http3Stream], None] | None = None
        self._requests: dict[int, Http3Stream] = {}
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kinds: set[int] = set()  # of the peer's streams that there is one of
        self._control = quic.open_unidirectional()
        self._control.send_nowait(bytes([_CONTROL]) + encode_frame(frames.SETTINGS, encode_settings(self._settings())))
        quic.set_datagram_handler(self._datagram)
        self._start(self._watch(), "http3 end")

    def __repr__(self) -> str:
        return f"<Http3Connection {self.quic!r} requests={len(self._requests)}>"

    def begin(self, on_request: Callable[[Http3Stream], None] | None = None) -> None:
        """Read what the peer sends. A server's `on_request` is handed each request, whose head may not be there yet; it
        must not raise or block."""
        self._on_request = on_request
        self.quic.set_stream_handler(self._opened)

    # -- the user's side -----------------------------------------------------------------------------------------

    @property
    def peer_address(self) -> Address:
        """Where the peer is."""
        return self.quic.peer_address

    @property
    def closed(self) -> ConnectionClosedInfo | None:
        """How the connection ended; None while it is up."""
        return self.quic.closed

    @property
    def carries_datagrams(self) -> bool:
        """Whether the peer takes HTTP datagrams outside of streams."""
        settings = self.peer_settings or {}
        return settings.get(H3_DATAGRAM) == 1 and self.quic.largest_datagram() > 0

    @property
    def extends_connect(self) -> bool:
        """Whether the peer, a server, takes extended CONNECT (RFC 9220)."""
        return (self.peer_settings or {}).get(ENABLE_CONNECT_PROTOCOL) == 1

    async def settled(self) -> None:
        """Wait for the peer's SETTINGS. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended first.
        """
        await asyncio.shield(self._settled)
        if self.peer_settings is None:
            raise self.quic.closed_error()

    async def open_request(self, head: Fields) -> Http3Stream:
        """Send a request's head, waiting while the peer's stream limit is reached. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended, or takes no more requests.
        """
        if self.leaving:
            raise ConnectionClosed("the peer takes no more requests")
        stream = Http3Stream(self, cast("BufferedStream", await self.quic.open_stream()))
        self._requests[stream.stream_id] = stream
        stream.send_head(head)
        return stream

    def statistics(self) -> Statistics:
        """Return the counters of the QUIC connection as they are now."""
        return self.quic.statistics()

    def close(self, code: int = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """Close at once; streams end with ConnectionClosed. Idempotent."""
        self.quic.close(code, reason)

    async def wait_closed(self) -> ConnectionClosedInfo:
        """Wait until the connection ended, and say how. Cancel at any time."""
        return await self.quic.wait_closed()

    # -- for the streams -----------------------------------------------------------------------------------------

    def send_datagram(self, stream_id: int, payload: bytes) -> bool:
        """Send an HTTP datagram of a request; False where it finds no room (dropped)."""
        return self.quic.send_datagram(encode_datagram(stream_id, payload))

    def fail(self, error: Http3Error) -> ConnectionClosed:
        """End the connection, because its peer breaks HTTP/3; return what a user of it is told."""
        self.close(error.code, str(error))
        return self.quic.closed_error()

    def forget(self, stream: Http3Stream) -> None:
        """A request is over."""
        self._requests.pop(stream.stream_id, None)

    async def turn(self) -> None:
        """Wait for a later turn of the loop. Cancel at any time."""
        turn = self._loop.create_future()
        self._later(lambda: None if turn.done() else turn.set_result(None))
        await turn

    # -- what the peer opens and sends ---------------------------------------------------------------------------

    def _settings(self) -> dict[int, int]:
        settings = {
            QPACK_MAX_TABLE_CAPACITY: 0, QPACK_BLOCKED_STREAMS: 0, MAX_FIELD_SECTION_SIZE: MAX_FIELDS, H3_DATAGRAM: 1,
        }  # fmt: skip
        return settings if self.is_client else {**settings, ENABLE_CONNECT_PROTOCOL: 1}

    def _opened(self, opened: Stream) -> None:
        stream = cast("BufferedStream", opened)
        if stream.stream_id & 2:
            self._start(self._read_unidirectional(stream), "http3 unidirectional stream")
        elif self._on_request is None:
            self.fail(Http3Error(ErrorCode.STREAM_CREATION_ERROR, "a server must not open bidirectional streams"))
        else:
            request = self._requests[stream.stream_id] = Http3Stream(self, stream)
            self._on_request(request)

    def _datagram(self, data: bytes) -> None:
        try:
            stream_id, payload = parse_datagram(data)
        except Http3Error as error:
            self.fail(error)
            return
        request = self._requests.get(stream_id)
        if request is None:
            self.datagrams_dropped += 1
        else:
            request.datagram_arrived(payload)

    async def _read_unidirectional(self, stream: BufferedStream) -> None:
        try:
            await self._read_kind(stream)
        except Http3Error as error:
            self.fail(error)
        except TransportError:
            pass  # it was reset, or the connection ended

    async def _read_kind(self, stream: BufferedStream) -> None:
        data = b""
        while (found := read_integer(data, 0)) is None:
            more = await stream.receive(8)
            if not more:
                return  # it ended before it said what it is (RFC 9114 6.2)
            data += more
        kind, at = found
        if kind == _PUSH:
            code = ErrorCode.ID_ERROR if self.is_client else ErrorCode.STREAM_CREATION_ERROR
            raise Http3Error(code, "nothing may be pushed here")
        if kind not in (_CONTROL, _ENCODER, _DECODER):
            stream.stop(ErrorCode.STREAM_CREATION_ERROR)
            return
        if kind in self._kinds:
            raise Http3Error(ErrorCode.STREAM_CREATION_ERROR, f"there is a stream of type {kind} already")
        self._kinds.add(kind)
        if kind == _CONTROL:
            take = self._control_taker()
        else:
            take = self.fields.take_encoder if kind == _ENCODER else self.fields.take_decoder
        data = data[at:]
        try:
            while True:
                if data:
                    take(data)
                data = await stream.receive(PIECE)
                if not data:
                    break
                await self.turn()
        except TransportError:
            pass
        if self.closed is None:
            raise Http3Error(ErrorCode.CLOSED_CRITICAL_STREAM, f"the stream of type {kind} ended")

    def _control_taker(self) -> Callable[[bytes], None]:
        reader = control_reader()

        def take(data: bytes) -> None:
            reader.feed(data)
            while (frame := reader.next(PIECE)) is not None:
                self._control_frame(*frame)

        return take

    def _control_frame(self, kind: int, payload: bytes) -> None:
        if self.peer_settings is None:
            if kind != frames.SETTINGS:
                raise Http3Error(ErrorCode.MISSING_SETTINGS, "the control stream does not begin with SETTINGS")
            self.peer_settings = parse_settings(payload)
            if not self._settled.done():
                self._settled.set_result(None)
        elif kind == frames.SETTINGS:
            raise Http3Error(ErrorCode.FRAME_UNEXPECTED, "SETTINGS came before")
        elif kind in (frames.GOAWAY, frames.CANCEL_PUSH, frames.MAX_PUSH_ID):
            found = read_integer(payload, 0)
            if found is None or found[1] != len(payload):
                raise Http3Error(ErrorCode.FRAME_ERROR, f"a frame of type {kind:#x} is not one number")
            if kind == frames.MAX_PUSH_ID and self.is_client:
                raise Http3Error(ErrorCode.FRAME_UNEXPECTED, "a server must not allow pushes")
            if kind == frames.GOAWAY:
                self.leaving = True

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        await self.quic.wait_closed()
        if not self._settled.done():
            self._settled.set_result(None)
        self._requests.clear()
