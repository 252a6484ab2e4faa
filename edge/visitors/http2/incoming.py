"""What an HTTP/2 visitor sends, frame by frame: what each may cost, what it means, and what it is refused for.

Faults of one request end its stream alone (RFC 9113 8.1.1); what a visitor may send without end has a budget, whatever
kind of frame it is. Called by `connection`, a slice at a time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import NoSuchStreamError, ProtocolError

from pyconnector.edge.visitors.http2.engine import MAX_BLOCK, MAX_CONCURRENT_STREAMS
from pyconnector.edge.visitors.http2.fields import check_request, check_trailers
from pyconnector.web.http2 import frames
from pyconnector.web.http2.budget import Budget
from pyconnector.web.http2.fields import Malformed
from pyconnector.web.http2.frames import FrameCutter, FrameTooLarge, RawFrame

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http2.stream import VisitorStream
    from pyconnector.web.http2.engine import Engine

    Fields = list[tuple[bytes, bytes]]

#: Requests that a visitor may take back unanswered (CVE-2023-44487), or send so that they are refused: at once, and
#: each second.
MAX_RESETS, RESETS_A_SECOND = 1000, 200.0
#: Frames that carry nothing but want work, of whatever kind: at once, and each second.
MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND = 1000, 200.0
#: Updates of windows that our data frames called for and that may still come: two for each.
MAX_EXPECTED_UPDATES = 64 * 1024


class Receiver(Protocol):
    """The connection, as its incoming frames see it."""

    streams: dict[int, VisitorStream]
    closing: bool
    has_too_many_unread: bool

    def now(self) -> float:
        """Return the loop's time."""

    def begin(self, stream_id: int, fields: Fields, *, ended: bool) -> None:
        """Serve a request."""

    def forget(self, stream_id: int) -> VisitorStream | None:
        """Give a stream up, whose end the visitor knows; return it where it was still there."""

    def goodbye(self) -> None:
        """The visitor opens no more streams."""

    def windows_moved(self) -> int:
        """More may be sent, perhaps; return how many wait for it."""

    def refused(self, reason: str) -> None:
        """A request was refused: say so in the log."""

    def close(self, code: ErrorCodes, reason: str = "") -> None:
        """End the connection, because of `reason`."""


class Incoming:
    """The reading half of one connection."""

    def __init__(self, engine: Engine, owner: Receiver) -> None:
        self._h2 = engine
        self._owner = owner
        self._cutter = FrameCutter()
        self._resets = Budget(MAX_RESETS, RESETS_A_SECOND)
        self._idle_frames = Budget(MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND)
        self._expected_updates = 0
        self._block = 0  # bytes of a header block that has not ended
        self._windows_moved = False

    def __len__(self) -> int:
        return len(self._cutter)

    @property
    def has_more(self) -> bool:
        """Whether a frame waits to be read."""
        return self._cutter.has_next

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self._cutter.feed(data)

    def work(self, units: int) -> int:
        """Read frames that cost so much (see `RawFrame.cost`), or one more; return what they did cost."""
        used = 0
        try:
            while used < units and not self._owner.closing and (frame := self._cutter.next()) is not None:
                used += frame.cost
                self._read(frame)
        except FrameTooLarge as error:
            self._owner.close(ErrorCodes.FRAME_SIZE_ERROR, str(error))
        except (ProtocolError, ValueError, IndexError) as error:
            # The library has said why in a GOAWAY; the other two come from its HPACK corner cases. Its words may quote
            # fields, so they are not for a log.
            self._owner.close(ErrorCodes.PROTOCOL_ERROR, f"the protocol is broken ({type(error).__name__})")
        if self._windows_moved:
            self._windows_moved = False
            used += self._owner.windows_moved() // 4
        return used

    def expect_updates(self) -> None:
        """A data frame goes out, for which the visitor will open two windows: the stream's, and the common one."""
        self._expected_updates = min(self._expected_updates + 2, MAX_EXPECTED_UPDATES)

    def refuse(self, stream_id: int, code: ErrorCodes, reason: str) -> None:
        """End one stream for what was wrong with it."""
        self._owner.forget(stream_id)
        with contextlib.suppress(NoSuchStreamError):  # it was over for the library
            self._h2.reset_stream(stream_id, code)
        self._owner.refused(reason)
        self._spend(self._resets)

    # -- one frame -----------------------------------------------------------------------------------------------

    def _read(self, frame: RawFrame) -> None:
        kind = frame.kind
        if kind in (frames.HEADERS, frames.CONTINUATION):
            self._gather(frame)
        elif kind == frames.DATA:
            if frame.stream_id not in self._owner.streams:
                self._idle()  # it is over
            self._take(frame)
        elif kind == frames.RST_STREAM:
            stream = self._owner.streams.get(frame.stream_id)
            self._take(frame)
            if stream is None:
                self._idle()
        elif kind == frames.WINDOW_UPDATE:
            self._update(frame)
        elif kind == frames.PRIORITY and frame.stream_id and frame.size == 5 and not self._block:
            self._idle()  # deprecated (RFC 9113 5.3.2)
        elif kind > frames.CONTINUATION and not self._block:
            self._idle()  # of another kind, whatever is in it (RFC 9113 5.5; of a client ALTSVC too, RFC 7838 4)
        else:
            self._idle(1 + frame.size // 6 if kind == frames.SETTINGS else 1)
            self._take(frame)

    def _gather(self, frame: RawFrame) -> None:
        """Part of a header block, or all of it."""
        if frame.kind == frames.CONTINUATION:
            self._idle()
        self._block += len(frame.wire)
        if self._block > MAX_BLOCK:
            self._owner.close(ErrorCodes.ENHANCE_YOUR_CALM, f"a header block is beyond {MAX_BLOCK} bytes")
            return
        fault = ""
        if frame.kind == frames.HEADERS:
            frame, fault = self._defused(frame)
        if frame.flags & frames.END_HEADERS:
            self._block = 0
        for event in self._events(frame):
            if isinstance(event, events.RequestReceived):
                self._begin(event, fault)
            elif isinstance(event, events.TrailersReceived):
                self._trailers(event, fault)
            else:
                self._event(event)

    def _defused(self, frame: RawFrame) -> tuple[RawFrame, str]:
        """Return a HEADERS frame without what the library would end the connection for, and what that was."""
        wire, fault = bytearray(frame.wire), ""
        if frame.stream_id in self._owner.streams and not frame.flags & frames.END_STREAM:
            wire[4] |= frames.END_STREAM
            fault = "a trailer section does not end the stream"
        if frame.flags & frames.WITH_PRIORITY:
            at = frames.HEADER + (1 if frame.flags & frames.PADDED else 0)
            if int.from_bytes(wire[at : at + 4]) & 0x7FFFFFFF == frame.stream_id:
                wire[at : at + 4] = bytes(4)
                fault = "the stream depends on itself"
        return (frame._replace(flags=wire[4], wire=bytes(wire)), fault) if fault else (frame, "")

    def _update(self, frame: RawFrame) -> None:
        if self._expected_updates:
            self._expected_updates -= 1
        else:
            self._idle()
        increment = int.from_bytes(frame.wire[frames.HEADER :]) & 0x7FFFFFFF
        if not increment and frame.size == 4 and frame.stream_id in self._owner.streams and not self._block:
            self.refuse(frame.stream_id, ErrorCodes.PROTOCOL_ERROR, "a window is opened by nothing")
        else:
            self._take(frame)

    def _take(self, frame: RawFrame) -> None:
        """Hand a frame to the library and do what it means."""
        for event in self._events(frame):
            self._event(event)

    def _events(self, frame: RawFrame) -> list[events.Event]:
        return [] if self._owner.closing else self._h2.receive_data(frame.wire)

    def _event(self, event: events.Event) -> None:
        if self._owner.closing:
            return
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.StreamEnded):
            self._ended(event.stream_id)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            self._windows_moved = True
        elif isinstance(event, events.StreamReset):
            self._reset(event)
        elif isinstance(event, events.ConnectionTerminated):
            self._owner.goodbye()

    # -- what frames mean ----------------------------------------------------------------------------------------

    def _begin(self, event: events.RequestReceived, fault: str) -> None:
        fields = self._h2.sections.take()
        stream_id = event.stream_id
        if len(self._h2.streams) > MAX_CONCURRENT_STREAMS < self._h2.count_inbound_streams():
            # Before it knew of the limit no visitor can have kept it (RFC 9113 5.1.2).
            self.refuse(stream_id, ErrorCodes.REFUSED_STREAM, f"more than {MAX_CONCURRENT_STREAMS} at once")
            return
        if self._owner.has_too_many_unread:
            self.refuse(stream_id, ErrorCodes.REFUSED_STREAM, "too many of its answers are unread")
            return
        try:
            if fault:
                raise Malformed(fault)
            check_request(fields)
        except Malformed as error:
            self.refuse(stream_id, ErrorCodes.PROTOCOL_ERROR, str(error))
            return
        self._owner.begin(stream_id, fields, ended=event.stream_ended is not None)

    def _trailers(self, event: events.TrailersReceived, fault: str) -> None:
        fields = self._h2.sections.take()
        try:
            if fault:
                raise Malformed(fault)
            check_trailers(fields)
        except Malformed as error:
            self.refuse(event.stream_id, ErrorCodes.PROTOCOL_ERROR, str(error))

    def _data(self, event: events.DataReceived) -> None:
        if not event.data and event.stream_ended is None:
            self._idle()
        stream = self._owner.streams.get(event.stream_id)
        if stream is not None and stream.takes(len(event.data)):
            stream.data(event.data, event.flow_controlled_length)
            return
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream is not None:
            self.refuse(event.stream_id, ErrorCodes.PROTOCOL_ERROR, "the body is longer than Content-Length says")

    def _ended(self, stream_id: int) -> None:
        stream = self._owner.streams.get(stream_id)
        if stream is None or stream.upload.ended:
            return
        if stream.is_short:
            self.refuse(stream_id, ErrorCodes.PROTOCOL_ERROR, "the body is shorter than Content-Length says")
        else:
            stream.upload.end()

    def _reset(self, event: events.StreamReset) -> None:
        stream = self._owner.forget(event.stream_id)
        if event.remote_reset and stream is not None and not stream.responding:
            self._spend(self._resets)

    # -- budgets -------------------------------------------------------------------------------------------------

    def _idle(self, count: int = 1) -> None:
        self._spend(self._idle_frames, count)

    def _spend(self, budget: Budget, count: int = 1) -> None:
        if not self._owner.closing and not budget.spend(self._owner.now(), count):
            what = "requests are taken back or refused" if budget is self._resets else "frames that carry nothing come"
            self._owner.close(ErrorCodes.ENHANCE_YOUR_CALM, f"too many {what}")
