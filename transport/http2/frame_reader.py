"""The bytes of one peer between its socket and its frames: the socket writes into the space that this lends, and frames
are cut out of it (RFC 9113 4.1). Pure.

So a body is copied once on its way from the socket to its stream, and no read makes a buffer of its own.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyconnector.web.http2.frames import CONTINUATION, HEADER, HEADERS, SETTINGS, FrameTooLarge, NoPreface

#: Bytes of the space, unless a longer frame has to be gathered.
SPACE = 128 * 1024
#: Least that the socket is lent: a record of TLS.
LEAST_ROOM = 16 * 1024

_FIELDS = struct.Struct(">BHBBL")


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def cost(self) -> int:
        """What it takes to read it, in units of some 20 microseconds: a request is worth a hundred bytes of data."""
        if self.kind in (HEADERS, CONTINUATION):
            return 8 + len(self.payload) // 32
        if self.kind == SETTINGS:
            return 1 + len(self.payload) // 48
        return 1 + len(self.payload) // 4096


class FrameReader:
    """Holds one read of the socket, and a frame that is not whole."""

    __slots__ = ("_at", "_end", "_max_payload", "_preface", "_space")

    def __init__(self, max_payload: int, *, preface: bytes) -> None:
        """`preface` is what must come first: empty for what a server sends."""
        self._space = memoryview(b"")
        self._at = self._end = 0  # of what is not read yet
        self._max_payload = max_payload
        self._preface = preface

    def __len__(self) -> int:
        return self._end - self._at

    def room(self) -> memoryview:
        """Lend what the socket may write into, never less than `LEAST_ROOM`; `filled` tells what came of it."""
        if self._at == self._end:
            self._at = self._end = 0
            if len(self._space) != SPACE:
                self._space = memoryview(bytearray(SPACE))
        elif len(self._space) - self._end < LEAST_ROOM:
            self._move_up()
        return self._space[self._end :]

    def _move_up(self) -> None:
        """Make room behind what is not read yet, for the rest of its frame if that is longer than the space."""
        waiting = self._end - self._at
        size = max(SPACE, waiting + LEAST_ROOM)
        if waiting >= HEADER:
            size = max(size, HEADER + min(self._length(), self._max_payload) + LEAST_ROOM)
        space = self._space if size <= len(self._space) else memoryview(bytearray(size))
        space[:waiting] = self._space[self._at : self._end]
        self._space, self._at, self._end = space, 0, waiting

    def filled(self, count: int) -> None:
        """The socket wrote so much.

        Raises:
            NoPreface: it begins with something else than it must.
        """
        self._end += count
        if preface := self._preface:
            size = min(len(preface), self._end - self._at)
            if self._space[self._at : self._at + size] != preface[:size]:
                raise NoPreface("it does not speak HTTP/2")
            self._preface = preface[size:]
            self._at += size

    def clear(self) -> None:
        """Nothing of it will be read."""
        self._at = self._end = 0

    def next(self) -> Frame | None:
        """Return the next frame once it is whole, else None.

        Raises:
            FrameTooLarge: it never will be, for it is longer than allowed.
        """
        at = self._at
        start = at + HEADER
        if start > self._end:
            return None
        high, low, kind, flags, stream_id = _FIELDS.unpack_from(self._space, at)
        length = high << 16 | low
        if length > self._max_payload:
            raise FrameTooLarge(f"a frame of {length} bytes is beyond the limit of {self._max_payload}")
        end = start + length
        if end > self._end:
            return None
        self._at = end
        return Frame(kind, flags, stream_id & 0x7FFFFFFF, self._space[start:end].tobytes())

    @property
    def has_next(self) -> bool:
        """Whether `next` would return a frame, or raise."""
        waiting = self._end - self._at
        if waiting < HEADER:
            return False
        length = self._length()
        return waiting >= HEADER + length or length > self._max_payload

    def _length(self) -> int:
        space, at = self._space, self._at
        return space[at] << 16 | space[at + 1] << 8 | space[at + 2]
