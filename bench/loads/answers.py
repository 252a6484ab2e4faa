"""Answers checked as cheaply as a load may: the first in full, the others against it, the body of some by its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pyconnector.protocol.streams.openings import ConnectResponseDecoder

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

#: One answer in so many has its body hashed.
HASHED = 64
#: Bytes that are taken at once.
PIECE = 262_144


class Answers:
    """Every answer must be a 200 with the head of the first, and a body of `size` bytes that are those of the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._head = b""
        self._hash = b""
        self._seen = 0

    async def check(self, stream: Stream) -> int:
        """Read the answer to its end; return the size of its body. Cancel leaves the rest unread.

        Raises:
            RuntimeError: it is not what it should be.
        """
        data = await stream.receive(PIECE)
        head = self._head
        if not head or not data.startswith(head):
            data = await self._learn(stream, data)
            head = self._head
        self._seen += 1
        hashing = hashlib.sha256(data[len(head) :]) if self._seen % HASHED == 1 else None
        size = len(data) - len(head)
        while piece := await stream.receive(PIECE):
            size += len(piece)
            if hashing is not None:
                hashing.update(piece)
        if size != self._size:
            raise RuntimeError(f"{size} bytes in place of {self._size}")
        if hashing is not None:
            self._hash = self._hash or hashing.digest()
            if hashing.digest() != self._hash:
                raise RuntimeError("another body than that of the first answer")
        return size

    async def _learn(self, stream: Stream, data: bytes) -> bytes:
        """Read a head in full: the first, or one that comes in pieces or says something else, say the time."""
        decoder = ConnectResponseDecoder()
        answer = decoder.feed(data)
        while answer is None:
            piece = await stream.receive(PIECE)
            if not piece:
                raise RuntimeError("the stream ended without an answer")
            data += piece
            answer = decoder.feed(piece)
        if answer.error or (b"HttpStatus", b"200") not in answer.metadata:
            raise RuntimeError(answer.error or "not a 200")
        self._head = data[: len(data) - len(decoder.leftover)]
        return data
