"""Request bodies of visitors as they stand on the wire: by length, or in chunks. Pure.

Each takes its bytes from the front of the buffer that they wait in, and leaves there what follows the body.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from pyconnector.edge.visitors.http1.request_parser import BadRequest

#: Bytes of one chunk-size line, extensions included, and of all trailer fields of a chunked body.
MAX_CHUNK_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024
#: Lines of a chunked body that are looked at before others get their turn: some half a millisecond.
LINES_A_TURN = 500

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")


class LengthBody:
    """A body of known length."""

    __slots__ = ("remaining",)

    is_behind = False
    "Whether `take` stopped before it had to: never, for nothing here costs more than copying."

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def finished(self) -> bool:
        """Whether all of the body was seen."""
        return self.remaining == 0

    def passes(self, data: bytes | bytearray) -> bool:
        """Count `data` where all of it belongs to the body, so that it can go on as it is; else do nothing."""
        if len(data) > self.remaining:
            return False
        self.remaining -= len(data)
        return True

    def take(self, buffer: bytearray) -> bytes:
        """Take what belongs to the body from the front of `buffer`."""
        if self.passes(buffer):
            taken = bytes(buffer)
            buffer.clear()
            return taken
        with memoryview(buffer) as view:
            taken = bytes(view[: self.remaining])
        del buffer[: self.remaining]
        self.remaining = 0
        return taken


class ChunkedBody:
    """A body in chunks (RFC 9112 7.1). Extensions are dropped, and trailer fields, which the tunnel cannot carry."""

    __slots__ = ("_after_data", "_in_trailer", "_remaining", "_trailer_bytes", "finished", "is_behind")

    def __init__(self) -> None:
        self.finished = False
        self.is_behind = False
        "Whether the last `take` stopped after `LINES_A_TURN`, with more to look at."
        self._remaining = 0
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0

    def passes(self, data: bytes) -> bool:
        """Return False: chunks are never passed on as they are."""
        return False

    def take(self, buffer: bytearray) -> bytes:
        """Take what belongs to the body from the front of `buffer`; return its payload, which may be nothing yet.

        Raises:
            BadRequest: a chunk is malformed.
        """
        pieces: list[bytes] = []
        with memoryview(buffer) as view:
            position = self._read(buffer, view, pieces)
        del buffer[:position]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read(self, buffer: bytearray, view: memoryview, pieces: list[bytes]) -> int:
        position, size, lines = 0, len(buffer), 0
        while position < size and not self.finished:
            if self._remaining:
                end = min(position + self._remaining, size)
                pieces.append(bytes(view[position:end]))
                self._remaining -= end - position
                self._after_data = not self._remaining
                position = end
                continue
            if lines == LINES_A_TURN:
                break
            limit = MAX_TRAILER_BYTES - self._trailer_bytes if self._in_trailer else MAX_CHUNK_LINE_BYTES
            end = buffer.find(b"\n", position, position + limit) + 1
            if not end:
                self._check_line_size(size - position, limit)
                break
            self._take_line(bytes(view[position:end]))
            position = end
            lines += 1
        self.is_behind = lines == LINES_A_TURN and position < size and not self.finished
        return position

    def _check_line_size(self, size: int, limit: int) -> None:
        if size < limit:
            return
        if self._in_trailer:
            raise BadRequest("The trailer of the request is too large.", 431)
        raise BadRequest("A chunk size of the request is too long.")

    def _take_line(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise BadRequest("A line of the chunked body does not end in carriage return and line feed.")
        text = line[:-2]
        if self._after_data:
            if text:
                raise BadRequest("A chunk of the request is longer than it says.")
            self._after_data = False
        elif self._in_trailer:
            self._trailer_bytes += len(line)
            self.finished = not text
        else:
            size = _CHUNK_SIZE.fullmatch(text)
            if size is None:
                raise BadRequest("A chunk size of the request is not a number.")
            self._remaining = int(size[1], 16)
            self._in_trailer = not self._remaining


RequestBody: TypeAlias = LengthBody | ChunkedBody


def request_body(length: int | None) -> RequestBody:
    """Return what reads a body of `length` bytes, or a chunked one for None."""
    return ChunkedBody() if length is None else LengthBody(length)
