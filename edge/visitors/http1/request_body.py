"""Request bodies of visitors as they stand on the wire: by length, or in chunks. Pure.

Each takes bytes with `feed`, returns the payload in them, and keeps what follows the body in `leftover`.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from pyconnector.edge.visitors.http1.request_parser import BadRequest

#: Bytes of one chunk-size line, extensions included, and of all trailer fields of a chunked body.
MAX_CHUNK_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")


class LengthBody:
    """A body of known length."""

    __slots__ = ("leftover", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.leftover = b""

    @property
    def finished(self) -> bool:
        """Whether all of the body was seen."""
        return self.remaining == 0

    def feed(self, data: bytes) -> bytes:
        """Return the part of `data` that belongs to the body; the rest is in `leftover`."""
        if len(data) <= self.remaining:
            self.remaining -= len(data)
            return data
        taken = data[: self.remaining]
        self.leftover = data[self.remaining :]
        self.remaining = 0
        return taken


class ChunkedBody:
    """A body in chunks (RFC 9112 7.1). Extensions are dropped, and trailer fields, which the tunnel cannot carry."""

    __slots__ = ("_after_data", "_in_trailer", "_line", "_remaining", "_trailer_bytes", "finished", "leftover")

    def __init__(self) -> None:
        self.finished = False
        self.leftover = b""
        self._remaining = 0
        self._line = bytearray()
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the payload in `data`, which may be nothing yet; what follows the body is in `leftover`.

        Raises:
            BadRequest: a chunk is malformed.
        """
        pieces = []
        position = 0
        while position < len(data) and not self.finished:
            if self._remaining:
                piece = data[position : position + self._remaining]
                position += len(piece)
                self._remaining -= len(piece)
                self._after_data = not self._remaining
                pieces.append(piece)
                continue
            end = data.find(b"\n", position) + 1
            self._line += data[position : end or len(data)]
            position = end or len(data)
            self._check_line_size()
            if end:
                self._take_line()
        self.leftover = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_line_size(self) -> None:
        if self._in_trailer:
            if self._trailer_bytes + len(self._line) > MAX_TRAILER_BYTES:
                raise BadRequest("The trailer of the request is too large.", 431)
        elif len(self._line) > MAX_CHUNK_LINE_BYTES:
            raise BadRequest("A chunk size of the request is too long.")

    def _take_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
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
