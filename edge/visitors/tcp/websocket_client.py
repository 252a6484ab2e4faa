"""The edge as a WebSocket client: how a TCP visitor's bytes reach a `tcp://` hostname (wire.md 8 b, RFC 6455).

Pure. `WebSocketCarriage` makes masked binary frames of bytes, and bytes of the connector's frames in pieces of any
size: no data frame is ever held whole, so there is no limit on one.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
#: Payload of one frame that is sent: the reference cuts off what goes beyond its copy buffer (ingress.md).
MAX_FRAME_BYTES = 16 * 1024
#: Frames that one call of `from_stream` reads: whatever their size, everybody else gets a turn after so many.
FRAMES_AT_ONCE = 64
#: Bytes of a control frame's payload (RFC 6455 5.5).
MAX_CONTROL_BYTES = 125
_NORMAL_CLOSURE = (1000).to_bytes(2, "big")
#: What a Close frame says where the far end came to its end in good order: nothing, 1000 or 1001 (RFC 6455 7.4.1).
_ORDERLY = frozenset({b"", _NORMAL_CLOSURE, (1001).to_bytes(2, "big")})


def handshake_headers(key: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a handshake, without those that the edge strips."""
    return [(b"Sec-Websocket-Key", key), (b"Sec-Websocket-Version", b"13")]


def new_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """Return a value for Sec-WebSocket-Key."""
    return base64.b64encode(random_bytes(16))


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that proves that `key` was read (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def mask(data: bytes, key: bytes) -> bytes:
    """XOR `data` with the four bytes of `key`, over and over."""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


class WebSocketCarriage:
    """Frames towards the connector, bytes out of its frames. Implements `edge.visitors.tcp.two_way.Carriage`."""

    __slots__ = ("_buffer", "_fragmented", "_must_close", "_random_bytes", "_remaining", "has_more")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self.has_more = False
        self._random_bytes = random_bytes
        self._buffer = b""  # less than a header, a control frame that is not whole, or what was one too many
        self._remaining = 0  # payload of the data frame at hand
        self._fragmented = False
        self._must_close = False

    def to_stream(self, data: bytes) -> bytes:
        """Return `data` as masked binary frames."""
        if len(data) <= MAX_FRAME_BYTES:
            return self._frame(_BINARY, data) if data else b""
        starts = range(0, len(data), MAX_FRAME_BYTES)
        return b"".join([self._frame(_BINARY, data[start : start + MAX_FRAME_BYTES]) for start in starts])

    def end(self) -> bytes:
        """Return the Close frame that is owed, if the connector has closed.

        A visitor who ends first still receives: that is the end of the stream without a Close frame, which would ask
        the connector to close too (RFC 6455 5.5.1).
        """
        return self._frame(_CLOSE, _NORMAL_CLOSURE) if self._must_close else b""

    def from_stream(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return payload, replies (pong), and whether the connector closed.

        Reads `FRAMES_AT_ONCE` frames at most. With `has_more` there are others: call again, with nothing new.
        Its Close frame is answered when the visitor ends too, who may have more to say.

        Raises:
            ValueError: these are no frames of a server, or it closed because something went wrong.
        """
        payload: list[bytes] = []
        replies = b""
        view = self._buffer + data if self._buffer else data
        position = headers = 0
        self.has_more = False
        while position < len(view) or self._remaining:
            if self._remaining:
                piece = view[position : position + self._remaining]
                if not piece:
                    break
                payload.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                continue
            if headers == FRAMES_AT_ONCE:
                self.has_more = True
                break
            headers += 1
            header = _header(view, position)
            if header is None:
                break
            opcode, length, begin = header
            if opcode < _CLOSE:
                self._begin_data(opcode, final=bool(view[position] & 0x80))
                self._remaining = length
                position = begin
                continue
            end = begin + length
            if end > len(view):
                break
            control = view[begin:end]
            position = end
            if opcode == _CLOSE:
                self._closed(control)
                return b"".join(payload), replies, True
            if opcode == _PING:
                replies = self._frame(_PONG, control)  # only the last needs an answer (RFC 6455 5.5.3)
        self._buffer = view[position:]
        return payload[0] if len(payload) == 1 else b"".join(payload), replies, False

    def _closed(self, control: bytes) -> None:
        if control[:2] not in _ORDERLY:
            raise ValueError("a Close frame that tells of a failure")
        self._buffer = b""
        self._must_close = True

    def _begin_data(self, opcode: int, *, final: bool) -> None:
        if (opcode == _CONTINUATION) != self._fragmented:
            raise ValueError("a continuation frame without a message, or a message inside another")
        self._fragmented = not final

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        else:
            head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
        key = self._random_bytes(4)
        return head + key + mask(payload, key)


def _header(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Return opcode, payload length and where the payload begins; None while the header is not whole."""
    if len(data) < position + 2:
        return None
    first, second = data[position], data[position + 1]
    opcode = first & 0x0F
    if first & 0x70 or second & 0x80 or opcode not in (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
        raise ValueError("a frame with reserved bits, a mask, or an unknown opcode")
    length = second & 0x7F
    begin = position + 2
    if opcode >= _CLOSE:
        if length > MAX_CONTROL_BYTES or not first & 0x80:
            raise ValueError("a control frame that is too long or in fragments")
    elif length >= 126:
        begin += 2 if length == 126 else 8
        if len(data) < begin:
            return None
        length = int.from_bytes(data[position + 2 : begin], "big")
        if length >> 63:
            raise ValueError("a frame whose length is negative")
    return opcode, length, begin
