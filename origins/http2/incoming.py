"""What a service sends, frame by frame: what each costs, what it may send without end, and the events it stands for.

Frames that carry nothing but want work have a budget, whatever their kind: a wide one, for a service is no stranger,
and shared by all requests on the connection. Called by `connection`, a slice at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.exceptions import ProtocolError

from pyconnector.origins.http2.engine import MAX_DECODED
from pyconnector.web.http2 import frames
from pyconnector.web.http2.budget import Budget
from pyconnector.web.http2.frames import FrameCutter, FrameTooLarge, RawFrame

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from h2.events import Event

    from pyconnector.origins.http2.engine import OriginEngine

#: Frames that carry nothing but want work, of whatever kind: at once, and each second.
MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND = 10_000, 1_000.0
#: Frames that each piece of an upload calls for: updates of two windows, and a PING that measures the path (gRPC).
ANSWERS_TO_DATA = 3
#: Frames of data that may be on their way for a stream that was given up: a window of them, of 4 KiB each.
LATE_FRAMES = 256
#: Entries of one SETTINGS frame: the protocol has ten, and each costs time (a frame would hold 2,730).
MAX_SETTINGS = 256
#: Frames called for that are remembered at most.
MAX_EXPECTED = 64 * 1024


class Receiver(Protocol):
    """The connection, as its incoming frames see it."""

    closing: bool

    @property
    def streams(self) -> Collection[int]:
        """The streams under way."""

    def now(self) -> float:
        """Return the loop's time."""

    def take(self, event: Event) -> None:
        """Do what an event stands for."""

    def give_up(self, stream_id: int, cause: str) -> None:
        """End one stream for what was wrong with it."""

    def fail(self, cause: str, code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        """End the connection, because of `cause`."""


class Incoming:
    """The reading half of one connection."""

    def __init__(self, engine: OriginEngine, owner: Receiver) -> None:
        self._h2 = engine
        self._owner = owner
        self._cutter = FrameCutter(preface=b"")
        self._idle_frames = Budget(MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND)
        self._expected = 0
        self._expected_late = 0
        self._block = 0  # bytes of a header block that has not ended

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
                for event in self._read(frame):
                    self._owner.take(event)
        except FrameTooLarge:
            self._owner.fail("a frame of it is longer than allowed", ErrorCodes.FRAME_SIZE_ERROR)
        except (ProtocolError, ValueError, IndexError) as error:
            # The library has said why in a GOAWAY; the other two come from its HPACK corner cases.
            self._owner.fail(f"its HTTP/2 is wrong ({type(error).__name__})")
        return used

    def data_sent(self) -> None:
        """A piece of an upload goes out, which the service will answer."""
        self._expected = min(self._expected + ANSWERS_TO_DATA, MAX_EXPECTED)

    def stream_given_up(self) -> None:
        """A stream was reset of which more may be on its way."""
        self._expected_late = min(self._expected_late + LATE_FRAMES, MAX_EXPECTED)

    def _read(self, frame: RawFrame) -> Iterable[Event]:
        kind = frame.kind
        if kind in (frames.DATA, frames.HEADERS) and frame.stream_id not in self._owner.streams:
            self._late()
        if kind == frames.DATA:
            return self._data(frame)
        if kind in (frames.HEADERS, frames.CONTINUATION):
            if not self._may_gather(frame):
                return ()
        elif kind == frames.PRIORITY and not self._block:
            self._idle()  # deprecated (RFC 9113 5.3.2)
            return ()
        elif kind in (frames.WINDOW_UPDATE, frames.PING) and self._expected:
            self._expected -= 1
        elif kind != frames.RST_STREAM or frame.stream_id not in self._owner.streams:
            self._idle(1 + frame.size // 6 if kind == frames.SETTINGS else 1)
        if kind == frames.SETTINGS and frame.size > 6 * MAX_SETTINGS:
            self._owner.fail("too many settings come at once", ErrorCodes.ENHANCE_YOUR_CALM)
        elif kind == frames.WINDOW_UPDATE and self._opens_nothing(frame):
            self._owner.give_up(frame.stream_id, "a window is opened by nothing")
            return ()
        return () if self._owner.closing else self._h2.receive_data(frame.wire)

    def _data(self, frame: RawFrame) -> Iterable[Event]:
        if self._owner.closing:
            return ()
        if frame.stream_id not in self._owner.streams:
            return self._h2.receive_data(frame.wire)
        received = self._h2.receive_data(frame.wire)
        if not frame.flags & frames.END_STREAM and not any(
            isinstance(event, DataReceived) and event.data for event in received
        ):
            self._idle()
        return received

    def _opens_nothing(self, frame: RawFrame) -> bool:
        increment = int.from_bytes(frame.wire[frames.HEADER :]) & 0x7FFFFFFF
        return not increment and frame.size == 4 and frame.stream_id in self._owner.streams and not self._block

    def _may_gather(self, frame: RawFrame) -> bool:
        """Whether a part of a header block, or all of it, is within its bounds."""
        if frame.kind == frames.CONTINUATION:
            self._idle()
        self._block += len(frame.wire)
        if self._block > MAX_DECODED:
            self._owner.fail(f"a header block is beyond {MAX_DECODED} bytes", ErrorCodes.ENHANCE_YOUR_CALM)
            return False
        if frame.flags & frames.END_HEADERS:
            self._block = 0
        return not self._owner.closing

    def _late(self) -> None:
        """Something came for a stream that is over."""
        if self._expected_late:
            self._expected_late -= 1
        else:
            self._idle()

    def _idle(self, count: int = 1) -> None:
        if not self._owner.closing and not self._idle_frames.spend(self._owner.now(), count):
            self._owner.fail("too many frames come that carry nothing", ErrorCodes.ENHANCE_YOUR_CALM)
