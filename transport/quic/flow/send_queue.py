"""What one stream still has to send: data never sent, data to be sent again, and the end.

Pure. Frames carry their bytes until they are acknowledged, so nothing is searched or copied when an acknowledgment
comes: a count of frames in flight is all that is kept.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

#: A first frame is not smaller than this unless the stream ends in it: the reference's reader takes the 8 bytes of
#: signature and version with two reads and fails where the second comes back short.
FIRST_FRAME = 8
#: Room in a packet that is not worth a piece of something larger (quic-go leaves the same).
SMALLEST_PIECE = 128

#: Offset, bytes, and whether the stream ends there.
Frame: TypeAlias = tuple[int, bytes, bool]


class SendQueue:
    """The sending side of one stream, as frames."""

    __slots__ = ("_finish_sent", "_head", "_in_flight", "_lost", "_pieces", "finished", "is_over", "offset", "unsent")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._head = 0  # bytes of the first piece that were sent
        self._lost: deque[Frame] | None = None
        self._in_flight = 0
        self._finish_sent = False
        self.finished = False
        "Whether the end was queued."
        self.offset = 0
        "How many bytes were sent at least once."
        self.unsent = 0
        "How many bytes were queued and never sent."
        self.is_over = False
        "Whether everything including the end was acknowledged."

    def __repr__(self) -> str:
        return f"<SendQueue offset={self.offset} unsent={self.unsent} in_flight={self._in_flight}>"

    def write(self, data: bytes, finish: bool) -> None:
        """Queue `data`, then the end with `finish`."""
        if data:
            self._pieces.append(data)
            self.unsent += len(data)
        if finish:
            self.finished = True

    @property
    def next_offset(self) -> int:
        """The offset of the frame that comes next."""
        return self._lost[0][0] if self._lost else self.offset

    @property
    def has_frame(self) -> bool:
        """Whether there is anything to send, if flow control allows."""
        return bool(self.unsent or self._lost or (self.finished and not self._finish_sent))

    @property
    def has_lost(self) -> bool:
        """Whether the next frame was sent before, so that flow control does not apply to it."""
        return bool(self._lost)

    def next_frame(self, room: int, credit: int) -> Frame | None:
        """Return the next frame of at most `room` bytes, of which `credit` may be new; None where none fits."""
        if self._lost:
            return self._resend(self._lost, room)
        size = min(self.unsent, credit)
        ends = self.finished and size == self.unsent
        if size > room:
            if room < SMALLEST_PIECE:
                return None
            size, ends = room, False
        if not ends and (not size or (not self.offset and size < FIRST_FRAME and size < self.unsent)):
            return None
        if room < 0 or (ends and self._finish_sent):
            return None
        offset = self.offset
        data = self._take(size) if size else b""
        self.offset += size
        self.unsent -= size
        self._in_flight += 1
        if ends:
            self._finish_sent = True
        return offset, data, ends

    def next_middle(self, size: int) -> Frame | None:
        """Return `size` new bytes as a frame; None at the beginning and near the end, or where something was lost."""
        offset = self.offset
        if self.unsent <= size or not offset or self._lost:
            return None
        data = self._take(size)
        self.offset = offset + size
        self.unsent -= size
        self._in_flight += 1
        return offset, data, False

    def acknowledged(self) -> bool:
        """One frame arrived; True where that was the last of all."""
        self._in_flight -= 1
        if self._finish_sent and not self._in_flight and not self._lost:
            self.is_over = True
        return self.is_over

    def lost(self, frame: Frame) -> None:
        """One frame was lost: send it again, before what was never sent."""
        self._in_flight -= 1
        if self._lost is None:
            self._lost = deque()
        self._lost.append(frame)

    def clear(self) -> None:
        """Drop everything, for a reset."""
        self._pieces.clear()
        self._lost = None
        self._head = self.unsent = 0
        self.finished = self._finish_sent = False

    def _resend(self, lost: deque[Frame], room: int) -> Frame | None:
        offset, data, ends = lost[0]
        if len(data) <= room:
            frame = lost.popleft()
        elif room < SMALLEST_PIECE:
            return None
        else:
            lost[0] = (offset + room, data[room:], ends)
            frame = (offset, data[:room], False)
        self._in_flight += 1
        return frame

    def _take(self, size: int) -> bytes:
        pieces, head = self._pieces, self._head
        first = pieces[0]
        end = head + size
        if end < len(first):
            self._head = end
            return first[head:end]
        if end == len(first):
            pieces.popleft()
            self._head = 0
            return first[head:] if head else first
        taken = [first[head:]]
        size -= len(first) - head
        pieces.popleft()
        while size:
            first = pieces[0]
            if len(first) > size:
                taken.append(first[:size])
                break
            taken.append(first)
            size -= len(first)
            pieces.popleft()
        self._head = size
        return b"".join(taken)
