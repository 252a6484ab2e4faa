"""Where one Cap'n Proto message ends: the segment table before it (unpacked stream framing, wire.md 3).

`streams` reads a single message after a stream's signature; `MessageSplitter` cuts the endless row of them that an
RPC conversation is. Both know a message's size, and refuse it, before its bytes are there.
"""

from __future__ import annotations

from struct import unpack_from
from typing import TYPE_CHECKING, Final, NamedTuple

from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Most segments in one message, as in the reference (wire.md 3).
MAX_SEGMENTS: Final = 512


class Frame(NamedTuple):
    """Where the segments of a message lie: byte offsets relative to its first byte, and its whole length."""

    segments: list[tuple[int, int]]
    length: int


def frame_header_bytes(data: bytes | bytearray, start: int = 0) -> int:
    """Return how many bytes of `data` from `start` are needed to read the segment table; 4 of them tell.

    Raises:
        ProtocolError: more segments than `MAX_SEGMENTS`.
    """
    count = int.from_bytes(data[start : start + 4], "little") + 1
    if count > MAX_SEGMENTS:
        raise ProtocolError(f"a message of {count} segments is beyond the limit of {MAX_SEGMENTS}")
    # The table is the count, one size for each, and padding to a whole word.
    return (count + 2) // 2 * 8


def read_frame(data: bytes | bytearray, start: int, limit: int) -> Frame:
    """Read the segment table at `start`, which must be there as a whole.

    Raises:
        ProtocolError: the message is larger than `limit` bytes.
    """
    position = frame_header_bytes(data, start)
    count = int.from_bytes(data[start : start + 4], "little") + 1
    segments = []
    for words in unpack_from(f"<{count}I", data, start + 4):
        segments.append((position, position + words * 8))
        position += words * 8
    if position > limit:
        raise ProtocolError(f"a message of {position} bytes is beyond the limit of {limit}")
    return Frame(segments, position)


class MessageSplitter:
    """Cut a row of messages out of bytes that come in any pieces; holds at most one unfinished message."""

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._buffer = bytearray()
        self._needed = 4

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Frame]]:
        """Absorb `data` and yield each message that it completes. Take them all before the next call.

        Raises:
            ProtocolError: a message has too many segments or bytes.
        """
        self._buffer += data
        while len(self._buffer) >= self._needed:
            header = frame_header_bytes(self._buffer)
            if len(self._buffer) < header:
                self._needed = header
                return
            frame = read_frame(self._buffer, 0, self.max_bytes)
            if len(self._buffer) < frame.length:
                self._needed = frame.length
                return
            message = bytes(memoryview(self._buffer)[: frame.length])
            del self._buffer[: frame.length]
            self._needed = 4
            yield message, frame
