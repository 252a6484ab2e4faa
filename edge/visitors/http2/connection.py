"""One visitor's HTTP/2 connection: many exchanges at once, their frames and their credit, and what ends it.

The socket's callbacks take frames; each exchange has a task of its own (`edge.visitors.http2.stream`). Whatever a
visitor may send without end is bounded: by the library (header blocks, frame sizes, windows), by budgets (resets, and
frames that only want an answer) and by how much of our answers it may leave unread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from pyconnector.edge.visitors.http1.request_parser import BadRequest
from pyconnector.edge.visitors.http2.budget import Budget
from pyconnector.edge.visitors.http2.engine import server_engine
from pyconnector.edge.visitors.http2.request import is_grpc, visitor_request
from pyconnector.edge.visitors.http2.response import CONTINUE_FIELDS
from pyconnector.edge.visitors.http2.stream import VisitorStream
from pyconnector.edge.visitors.identity import VisitorIdentity

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
    from pyconnector.edge.visitors.server import VisitorServer

    Headers = list[tuple[bytes, bytes]]

#: Bytes that the socket takes before streams wait for it.
WRITE_HIGH_WATER = 256 * 1024
#: Unread bytes of ours above which a visitor is cut off: only answers to its own frames can make so many.
MAX_UNSENT = 1024 * 1024
#: Bytes without one whole frame among them: the library itself would gather the 16 MiB that a frame may claim to have.
MAX_SILENCE = 256 * 1024
#: Requests that a visitor may take back unanswered (CVE-2023-44487): at once, and each second.
MAX_RESETS, RESETS_A_SECOND = 1000, 200.0
#: Frames that carry nothing but want work (pings, settings, priorities, empty data): at once, and each second.
MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND = 2000, 2000.0
#: Longest data frame of a response, and bytes of such frames that are handed to the socket at once.
MAX_FRAME, BATCH = 32 * 1024, 64 * 1024
#: Seconds for which a visitor is still read after the end, so that it can read why (RFC 9113 5.4.1).
LINGER = 2.0

_WITHOUT_CONTENT = (
    events.PingReceived,
    events.RemoteSettingsChanged,
    events.SettingsAcknowledged,
    events.PingAckReceived,
    events.UnknownFrameReceived,
    events.PriorityUpdated,
)


class Http2Visitor(asyncio.Protocol):
    """One socket of a visitor who speaks HTTP/2, from its first bytes to its close."""

    def __init__(self, server: VisitorServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._h2 = server_engine()
        self._streams: dict[int, VisitorStream] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}  # senders, first come first served
        self._paused = False
        self._resets = Budget(MAX_RESETS, RESETS_A_SECOND)
        self._idle_frames = Budget(MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND)
        self._silence = 0
        self._queued = 0  # bytes of bodies that only wait for a flush
        self._receiving = False
        self._leaving = False  # the visitor said GOAWAY
        self._closing = False
        self._lost = False
        self._unwritten = 0
        self._deadline: float | None = None

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        return f"<Http2Visitor {state}, {len(self._streams)} streams, {len(self._waiting)} wait to send>"

    # -- callbacks of the socket ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a socket whose first bytes follow at once."""
        self._socket = cast("asyncio.Transport", transport)
        self._socket.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        peer = self._socket.get_extra_info("peername")
        self._identity = VisitorIdentity(str(peer[0]) if peer else "")
        self._server.joined(self)
        self._set_idle()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Frames came."""
        if self._closing:
            return
        self._receiving = True
        try:
            received = self._h2.receive_data(data)
            for event in received:
                self._take(event)
        except (ProtocolError, ValueError, IndexError):
            # The library says why in a GOAWAY; the other two come from its HPACK corner cases.
            self._close(ErrorCodes.PROTOCOL_ERROR)
            return
        finally:
            self._receiving = False
        # Data of streams that were reset makes no events, but answers.
        answered = self.flush()
        self._silence = 0 if received or answered else self._silence + len(data)
        if self._silence > MAX_SILENCE:
            self._close(ErrorCodes.ENHANCE_YOUR_CALM)
        elif self._socket.get_write_buffer_size() > MAX_UNSENT:
            self.abort()

    def eof_received(self) -> bool:
        """The visitor left: HTTP/2 knows no half of a connection."""
        self._abandon_all()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: whatever still runs for it is given up at once."""
        self._closing = self._lost = True
        self._server.left(self)
        self._abandon_all()

    def pause_writing(self) -> None:
        """The visitor takes less than comes."""
        self._paused = True

    def resume_writing(self) -> None:
        """The visitor took enough."""
        self._paused = False
        self._wake_senders()

    # -- time and end --------------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """End a connection that was idle for too long, or does not end. Called by the server every now and then."""
        if self._deadline is None or now < self._deadline:
            return
        if not self._closing:
            self._close(ErrorCodes.NO_ERROR)
            return
        unwritten = self._socket.get_write_buffer_size()
        if unwritten and unwritten != self._unwritten:
            self._unwritten = unwritten
            self._deadline = now + self._server.settings.head_timeout
        else:
            self._socket.abort()

    def abort(self) -> None:
        """Cut the visitor off."""
        self._closing = True
        self._abandon_all()
        self._socket.abort()

    def _set_idle(self) -> None:
        self._deadline = self._loop.time() + self._server.settings.idle_timeout

    def _close(self, code: ErrorCodes) -> None:
        """Say goodbye, and close so that the visitor can still read it. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._abandon_all()
        if self._h2.state_machine.state.name != "CLOSED":
            self._h2.close_connection(code)
        self._deadline = self._loop.time() + LINGER
        self.flush()
        if self._lost or self._socket.is_closing():
            return
        if self._socket.can_write_eof():
            self._socket.write_eof()
        else:
            self._socket.close()

    def _abandon_all(self) -> None:
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.abandon()

    # -- for the streams -----------------------------------------------------------------------------------------

    async def send_fields(self, stream_id: int, fields: Headers, *, end: bool = False) -> None:
        """See `Carrier.send_fields`."""
        while self._paused:
            await self._room()
        try:
            self._h2.send_headers(stream_id, fields, end_stream=end)
        except ProtocolError:
            # Half of the block may be in the state of the compression: nothing after it would be understood.
            self.abort()
            raise

    async def send_data(self, stream_id: int, data: bytes) -> None:
        """See `Carrier.send_data`."""
        position = 0
        while position < len(data):
            window = 0 if self._paused else self._h2.local_flow_control_window(stream_id)
            size = min(window, MAX_FRAME, self._h2.max_outbound_frame_size, len(data) - position)
            if size <= 0:
                self.flush()
                await self._room()
                continue
            self._h2.send_data(stream_id, data[position : position + size])
            position += size
            self._queued += size
            if self._queued >= BATCH:
                self.flush()

    def end(self, stream_id: int) -> None:
        """See `Carrier.end`."""
        self._h2.end_stream(stream_id)

    def reset(self, stream_id: int, *, failed: bool) -> None:
        """See `Carrier.reset`."""
        self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR if failed else ErrorCodes.NO_ERROR)
        self.flush()

    def acknowledge(self, stream_id: int, count: int) -> None:
        """See `Carrier.acknowledge`."""
        if not self._closing:
            self._h2.acknowledge_received_data(count, stream_id)
            if not self._receiving:
                self.flush()

    def over(self, stream: VisitorStream) -> None:
        """See `Carrier.over`."""
        if self._streams.get(stream.stream_id) is stream:
            del self._streams[stream.stream_id]
        if not self._streams and not self._closing:
            if self._leaving:
                self._close(ErrorCodes.NO_ERROR)
            else:
                self._set_idle()

    def flush(self) -> bool:
        """Hand the socket what is queued; False where that is nothing."""
        data = self._h2.data_to_send()
        self._queued = 0
        if data and not self._lost and not self._socket.is_closing():
            self._socket.write(data)
        return bool(data)

    async def _room(self) -> None:
        """Wait until something changed that may let more be sent. Cancel at any time."""
        waiter = self._loop.create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def _wake_senders(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # -- events --------------------------------------------------------------------------------------------------

    def _take(self, event: events.Event) -> None:
        if self._closing:
            return
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.RequestReceived):
            self._begin(event)
        elif isinstance(event, events.StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.upload.end()
        elif isinstance(event, events.WindowUpdated):
            self._wake_senders()
        elif isinstance(event, events.StreamReset):
            self._reset(event)
        elif isinstance(event, events.ConnectionTerminated):
            self._leaving = True
            if not self._streams:
                self._close(ErrorCodes.NO_ERROR)
        elif isinstance(event, _WITHOUT_CONTENT):
            self._without_content(event)

    def _begin(self, event: events.RequestReceived) -> None:
        fields = event.headers
        ended = event.stream_ended is not None
        request: VisitorRequest | BadRequest
        try:
            request = visitor_request(fields, ended=ended)
        except BadRequest as fault:
            request = fault
        stream = VisitorStream(event.stream_id, request, self, self._server, grpc=is_grpc(fields))
        self._streams[event.stream_id] = stream
        self._deadline = None
        if not isinstance(request, BadRequest) and request.expects_continue and not ended:
            self._h2.send_headers(event.stream_id, CONTINUE_FIELDS)
        stream.start(self._identity)

    def _data(self, event: events.DataReceived) -> None:
        if not event.data and event.stream_ended is None:
            self._spend(self._idle_frames)
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.data(event.data, event.flow_controlled_length)
        elif event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _reset(self, event: events.StreamReset) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is not None:
            stream.abandon()
            if not self._streams:
                self._set_idle()
        if event.remote_reset and (stream is None or not stream.responding):
            self._spend(self._resets)

    def _without_content(self, event: events.Event) -> None:
        if isinstance(event, events.RemoteSettingsChanged):
            self._wake_senders()
        self._spend(self._idle_frames)

    def _spend(self, budget: Budget) -> None:
        if not budget.spend(self._loop.time()):
            self._close(ErrorCodes.ENHANCE_YOUR_CALM)
