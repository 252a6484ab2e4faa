"""HTTP/3 frames as they come in any pieces (RFC 9114 7): field sections whole, bodies piece by piece, what is unknown
passed over without being kept. Pure.

What waits here is one piece of input and one frame of those that are kept whole, which have a bound.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from pyconnector.web.varints import encode_integer, read_integer

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 0xD
#: What stands for a frame that was passed over, or a part of one.
PASSED_OVER: Final = -1
#: Longest field section as it is compressed, and longest payload of a frame on the control stream.
MAX_SECTION: Final = 16 * 1024
MAX_CONTROL: Final = 4 * 1024
#: Kinds of HTTP/2's frames that must not come (RFC 9114 7.2.8).
_OF_HTTP2: Final = frozenset((0x2, 0x6, 0x8, 0x9))


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9114 8.1, RFC 9204 6, RFC 9297 5.2)."""

    DATAGRAM_ERROR = 0x33
    NO_ERROR = 0x100
    GENERAL_PROTOCOL_ERROR = 0x101
    INTERNAL_ERROR = 0x102
    STREAM_CREATION_ERROR = 0x103
    CLOSED_CRITICAL_STREAM = 0x104
    FRAME_UNEXPECTED = 0x105
    FRAME_ERROR = 0x106
    EXCESSIVE_LOAD = 0x107
    ID_ERROR = 0x108
    SETTINGS_ERROR = 0x109
    MISSING_SETTINGS = 0x10A
    REQUEST_REJECTED = 0x10B
    REQUEST_CANCELLED = 0x10C
    REQUEST_INCOMPLETE = 0x10D
    MESSAGE_ERROR = 0x10E
    CONNECT_ERROR = 0x10F
    QPACK_DECOMPRESSION_FAILED = 0x200
    QPACK_ENCODER_STREAM_ERROR = 0x201
    QPACK_DECODER_STREAM_ERROR = 0x202


class Http3Error(Exception):
    """The peer breaks HTTP/3: its connection ends with `code`. The text is one sentence."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    return encode_integer(kind) + encode_integer(len(payload)) + payload


class FrameReader:
    """Reads the frames of one stream. `next` is called until it has nothing, before more is fed."""

    __slots__ = ("_at", "_data", "_forbidden", "_in_body", "_left", "_limit", "_whole")

    def __init__(self, *, whole: frozenset[int], forbidden: frozenset[int], limit: int) -> None:
        """`whole` are the kinds that are kept until they are complete, up to `limit` bytes each."""
        self._whole = whole
        self._forbidden = forbidden | _OF_HTTP2
        self._limit = limit
        self._data = b""
        self._at = 0
        self._left = 0  # bytes of a frame that is not kept whole
        self._in_body = False  # whether that frame is DATA

    def __repr__(self) -> str:
        return f"<FrameReader {len(self._data) - self._at} bytes>"

    @property
    def is_between(self) -> bool:
        """Whether no frame has begun that has not ended."""
        return self._at == len(self._data) and not self._left

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self, most: int) -> tuple[int, bytes] | None:
        """Return the kind of the next frame and its payload: of DATA what is there, up to `most` bytes; nothing of one
        that is passed over (`PASSED_OVER`). None where more bytes are needed.

        Raises:
            Http3Error: a frame must not be here, or is too long.
        """
        data = self._data
        if not self._left:
            kind = read_integer(data, self._at)
            length = read_integer(data, kind[1]) if kind is not None else None
            if kind is None or length is None:
                return None
            size, begin = length
            if kind[0] in self._forbidden:
                raise Http3Error(ErrorCode.FRAME_UNEXPECTED, f"a frame of type {kind[0]:#x} must not come here")
            if kind[0] in self._whole:
                return self._kept(kind[0], size, begin)
            self._at, self._left, self._in_body = begin, size, kind[0] == DATA
            if not size:
                return PASSED_OVER, b""
        if self._at == len(data):
            return None
        taken = min(self._left, len(data) - self._at, most if self._in_body else self._left)
        begin, self._at = self._at, self._at + taken
        self._left -= taken
        return (DATA, data[begin : self._at]) if self._in_body else (PASSED_OVER, b"")

    def _kept(self, kind: int, size: int, begin: int) -> tuple[int, bytes] | None:
        if size > self._limit:
            raise Http3Error(ErrorCode.EXCESSIVE_LOAD, f"a frame of type {kind:#x} is beyond {self._limit} bytes")
        if len(self._data) < begin + size:
            return None
        self._at = begin + size
        return kind, self._data[begin : self._at]


def message_reader() -> FrameReader:
    """Return a reader of the frames of a request or a response."""
    return FrameReader(
        whole=frozenset((HEADERS,)), limit=MAX_SECTION,
        forbidden=frozenset((CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID)),
    )  # fmt: skip


def control_reader() -> FrameReader:
    """Return a reader of the frames of the peer's control stream."""
    return FrameReader(
        whole=frozenset((SETTINGS, GOAWAY, CANCEL_PUSH, MAX_PUSH_ID)), limit=MAX_CONTROL,
        forbidden=frozenset((DATA, HEADERS, PUSH_PROMISE)),
    )  # fmt: skip
