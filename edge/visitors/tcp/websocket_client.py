"""The edge as a WebSocket client: how a TCP visitor's bytes reach a `tcp://` hostname (wire.md 8 b, RFC 6455).

Pure. `WebSocketCarriage` makes masked binary frames of bytes, and bytes of the connector's frames in pieces of any
size: no data frame is ever held whole, so there is no limit on one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.web.websocket.frames import BINARY, CLOSE, PING, PONG, FrameDecoder, Piece, unmask

if TYPE_CHECKING:
    from collections.abc import Callable

#: Payload of one frame that is sent: the reference cuts off what goes beyond its copy buffer (ingress.md).
MAX_FRAME_BYTES = 16 * 1024
_NORMAL_CLOSURE = (1000).to_bytes(2, "big")
#: What a Close frame says where the far end came to its end in good order: nothing, 1000 or 1001 (RFC 6455 7.4.1).
_ORDERLY = frozenset({b"", _NORMAL_CLOSURE, (1001).to_bytes(2, "big")})


def handshake_headers(key: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a handshake, without those that the edge strips."""
    return [(b"Sec-Websocket-Key", key), (b"Sec-Websocket-Version", b"13")]


class WebSocketCarriage:
    """Frames towards the connector, bytes out of its frames. Implements `edge.visitors.tcp.two_way.Carriage`."""

    __slots__ = ("_frames", "_must_close", "_random_bytes", "has_more")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self.has_more = False
        self._random_bytes = random_bytes
        self._frames = FrameDecoder(masked=False)
        self._must_close = False

    def to_stream(self, data: bytes) -> bytes:
        """Return `data` as masked binary frames."""
        if len(data) <= MAX_FRAME_BYTES:
            return self._frame(BINARY, data) if data else b""
        starts = range(0, len(data), MAX_FRAME_BYTES)
        return b"".join([self._frame(BINARY, data[start : start + MAX_FRAME_BYTES]) for start in starts])

    def end(self) -> bytes:
        """Return the Close frame that is owed, if the connector has closed.

        A visitor who ends first still receives: that is the end of the stream without a Close frame, which would ask
        the connector to close too (RFC 6455 5.5.1).
        """
        return self._frame(CLOSE, _NORMAL_CLOSURE) if self._must_close else b""

    def from_stream(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return payload, replies (pong), and whether the connector closed.

        Reads as many frames as one call of the decoder does. With `has_more` there are others: call again, with
        nothing new.
        Its Close frame is answered when the visitor ends too, who may have more to say.

        Raises:
            ValueError: these are no frames of a server, or it closed because something went wrong.
        """
        payload: list[bytes] = []
        replies = b""
        self.has_more = False
        for found in self._frames.feed(data):
            if isinstance(found, Piece):
                payload.append(found.payload)
            elif found.opcode == CLOSE:
                self._closed(found.payload)
                return b"".join(payload), replies, True
            elif found.opcode == PING:
                replies = self._frame(PONG, found.payload)  # only the last needs an answer (RFC 6455 5.5.3)
        self.has_more = self._frames.has_more
        return payload[0] if len(payload) == 1 else b"".join(payload), replies, False

    def _closed(self, control: bytes) -> None:
        if control[:2] not in _ORDERLY:
            raise ValueError("a Close frame that tells of a failure")
        self._must_close = True

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        else:
            head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
        key = self._random_bytes(4)
        return head + key + unmask(payload, key)
