"""HTTP/2 frames as they come (RFC 9113 4.1): cut out one by one, counted and priced before anybody reads them. Pure.

The library takes whatever is there in one go, and the same for every kind of frame. What one turn of the loop may do,
and what a peer may do at all, is decided by these prices.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

#: What HTTP/2 with prior knowledge begins with (RFC 9113 3.4); no HTTP/1.1 request looks like it.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x4, 0x8, 0x20
#: Flag of SETTINGS and PING.
ACK = 0x1

#: Bytes of a frame's header.
HEADER = 9
_FIELDS = struct.Struct(">BHBBL")
#: Longest payload of a frame unless our settings say otherwise (RFC 9113 4.2).
MAX_PAYLOAD = 16 * 1024


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113 7), as far as this side says it."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class FrameTooLarge(Exception):
    """A frame claims to be longer than allowed. Caught where frames are taken: it ends the connection."""


class NoPreface(Exception):
    """The first bytes are not those of HTTP/2. Caught where frames are taken: it ends the connection."""


class RawFrame(NamedTuple):
    """One frame. `wire` is all of it, header included."""

    kind: int
    flags: int
    stream_id: int
    wire: bytes

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.wire) - HEADER

    @property
    def cost(self) -> int:
        """What it takes to read it, in units of some 20 microseconds: a request is worth a hundred bytes of data."""
        if self.kind in (HEADERS, CONTINUATION):
            return 8 + self.size // 32
        if self.kind == SETTINGS:
            return 1 + self.size // 48
        return 1 + self.size // 4096


class FrameCutter:
    """Cuts frames out of bytes that come in any pieces. What waits here is one read of the socket and one frame."""

    __slots__ = ("_at", "_buffer", "_max_payload", "_preface")

    def __init__(self, max_payload: int = MAX_PAYLOAD, *, preface: bytes = PREFACE) -> None:
        """`preface` is what must come first: empty for what a server sends."""
        self._buffer = bytearray()
        self._at = 0
        self._max_payload = max_payload
        self._preface = preface

    def __len__(self) -> int:
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived.

        Raises:
            NoPreface: they begin with something else.
        """
        if self._preface:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                raise NoPreface("it does not speak HTTP/2")
            self._preface, data = self._preface[size:], data[size:]
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next(self) -> RawFrame | None:
        """Return the next frame once it is whole, else None.

        Raises:
            FrameTooLarge: it never will be, for it is longer than allowed.
        """
        end = self._end()
        if end is None:
            return None
        buffer, at = self._buffer, self._at
        _, _, kind, flags, stream_id = _FIELDS.unpack_from(buffer, at)
        self._at = end
        return RawFrame(kind, flags, stream_id & 0x7FFFFFFF, bytes(memoryview(buffer)[at:end]))

    @property
    def has_next(self) -> bool:
        """Whether `next` would return a frame, or raise."""
        try:
            return self._end() is not None
        except FrameTooLarge:
            return True

    def _end(self) -> int | None:
        at, buffer = self._at, self._buffer
        if len(buffer) < at + HEADER:
            return None
        length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
        if length > self._max_payload:
            raise FrameTooLarge(f"a frame of {length} bytes is beyond the limit of {self._max_payload}")
        end = at + HEADER + length
        return end if len(buffer) >= end else None
