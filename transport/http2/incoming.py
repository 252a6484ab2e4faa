"""What the other end sends, frame by frame: what each costs, and what it may do at all.

Frames that carry nothing but want work have a budget, whatever their kind, and so have requests that are taken back:
wide ones, for behind one tunnel there are many clients, and whoever sends here has shown who it is. Called by
`connection`, a slice at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyconnector.transport.http2.core import ConnectionFault
from pyconnector.transport.http2.frame_reader import Frame, FrameReader
from pyconnector.web.http2 import frames
from pyconnector.web.http2.budget import Budget
from pyconnector.web.http2.frames import HEADER, PREFACE, ErrorCode, FrameTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.http2.settings import Http2Settings

#: Streams that the peer may take back (CVE-2023-44487) unless settings say otherwise: at once, and each second.
MAX_RESETS, RESETS_A_SECOND = 10_000, 1_000.0
#: Frames that carry nothing but want work, of whatever kind, likewise.
MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND = 10_000, 1_000.0
#: Updates of windows that our data frames called for and that may still come: two for each.
MAX_EXPECTED_UPDATES = 64 * 1024


class Receiver(Protocol):
    """The connection, as its incoming frames see it."""

    closing: bool

    def now(self) -> float:
        """Return the loop's time."""

    def fail(self, code: ErrorCode, reason: str) -> None:
        """End the connection, because of `reason`."""


class Incoming:
    """The reading half of one connection."""

    def __init__(self, owner: Receiver, take: Callable[[Frame], int], settings: Http2Settings, *, client: bool) -> None:
        """`take` does what a frame stands for (see `Reception.take`)."""
        self._owner = owner
        self._take = take
        self.reader = FrameReader(settings.max_frame, preface=b"" if client else PREFACE)
        "Where the socket writes what comes."
        self._max_block = settings.max_header_list
        self._resets = Budget(*(settings.resets or (MAX_RESETS, RESETS_A_SECOND)))
        self._idle_frames = Budget(*(settings.idle_frames or (MAX_IDLE_FRAMES, IDLE_FRAMES_A_SECOND)))
        self._expected_updates = 0
        self._block = 0  # bytes of a header block that has not ended

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def has_more(self) -> bool:
        """Whether a frame waits to be read."""
        return self.reader.has_next

    def work(self, units: int) -> None:
        """Read frames that cost so much (see `Frame.cost`), or one more."""
        used = 0
        try:
            while used < units and not self._owner.closing and (frame := self.reader.next()) is not None:
                used += frame.cost
                if self._may_come(frame):
                    used += self._take(frame)
        except FrameTooLarge as error:
            self._owner.fail(ErrorCode.FRAME_SIZE_ERROR, str(error))
        except ConnectionFault as fault:
            self._owner.fail(fault.code, str(fault))

    def expect_updates(self) -> None:
        """A data frame goes out, for which the peer will open two windows: the stream's, and the common one."""
        self._expected_updates = min(self._expected_updates + 2, MAX_EXPECTED_UPDATES)

    def _may_come(self, frame: Frame) -> bool:
        """Count a frame; whether it is within every bound."""
        kind = frame.kind
        if kind in (frames.HEADERS, frames.CONTINUATION):
            if not self._may_gather(frame):
                return False
        elif kind == frames.DATA:
            if not frame.payload and not frame.flags & frames.END_STREAM:
                self._idle()
        elif kind == frames.RST_STREAM:
            self._spend(self._resets)
        elif kind == frames.WINDOW_UPDATE and self._expected_updates:
            self._expected_updates -= 1
        else:
            self._idle(1 + len(frame.payload) // 6 if kind == frames.SETTINGS else 1)
        return not self._owner.closing

    def _may_gather(self, frame: Frame) -> bool:
        """Whether a part of a header block, or all of it, is within its bounds."""
        if frame.kind == frames.CONTINUATION:
            self._idle()
        self._block += HEADER + len(frame.payload)
        if self._block > self._max_block:
            self._owner.fail(ErrorCode.ENHANCE_YOUR_CALM, f"a header block is beyond {self._max_block} bytes")
            return False
        if frame.flags & frames.END_HEADERS:
            self._block = 0
        return True

    def _idle(self, count: int = 1) -> None:
        self._spend(self._idle_frames, count)

    def _spend(self, budget: Budget, count: int = 1) -> None:
        if not self._owner.closing and not budget.spend(self._owner.now(), count):
            what = "streams are taken back" if budget is self._resets else "frames that carry nothing come"
            self._owner.fail(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")
