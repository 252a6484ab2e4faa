"""WebSocket frames (RFC 6455 section 5), read and written by either end.

Pure. A message of any size passes through piece by piece: only frame headers and control frames are ever held back.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
INTERNAL_ERROR = 1011

#: Frames that one call of `FrameDecoder.feed` reads: whatever their size, everybody else gets a turn after so many.
FRAMES_AT_ONCE = 64
#: Payload of a control frame (section 5.5).
MAX_CONTROL = 125
#: From this size on, unmasking by lanes is faster than by one large number (measured on Python 3.11).
_LANES_FROM = 512
_XOR_TABLES = tuple(bytes(byte ^ key for byte in range(256)) for key in range(256))
_NO_MASK = b"\0\0\0\0"


class FrameError(ValueError):
    """The peer broke the protocol; `code` is what a close frame says. Caught by the reader of the frames."""

    def __init__(self, reason: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


@dataclass(slots=True)
class Piece:
    """Part of a message. `first` and `last` tell where the message begins and ends."""

    opcode: int
    payload: bytes
    first: bool
    last: bool


@dataclass(slots=True)
class Control:
    """A whole ping, pong or close frame."""

    opcode: int
    payload: bytes


class FrameDecoder:
    """Reads frames: a client's, or with `masked` False a server's. After an error it is of no more use."""

    def __init__(self, *, masked: bool = True) -> None:
        self.has_more = False
        "Whether more frames may be whole among the bytes that were fed: `feed` again, with nothing new."
        self._masked = masked
        self._held = b""
        self._left = 0
        self._mask = _NO_MASK
        self._opcode = 0  # of the message being read, 0 between messages
        self._first = False
        self._fin = False
        self._is_over = False  # after a close frame

    @property
    def is_within(self) -> bool:
        """Whether a frame or a message has begun and not ended."""
        return bool(self._held or self._left or self._opcode)

    def feed(self, data: bytes) -> list[Piece | Control]:
        """Take in bytes; return what is known of them, of `FRAMES_AT_ONCE` frames at most. See `has_more`.

        What comes after a close frame is nothing, whatever it looks like (RFC 6455, section 1.4).

        Raises:
            FrameError: they are no frames of that peer.
        """
        found: list[Piece | Control] = []
        if self._is_over:
            return found
        if self._held:
            data, self._held = self._held + data, b""
        self.has_more = False
        at = 0
        while at < len(data):
            if len(found) >= FRAMES_AT_ONCE:
                self._held = data[at:]
                self.has_more = True
                break
            if self._left:
                piece = data[at : at + self._left] if at or len(data) > self._left else data
                at += len(piece)
                found.append(self._payload(piece))
                continue
            begin = self._header(data, at, found)
            if not begin:
                self._held = data[at:]
                break
            if data[at] & 0x0F == CLOSE:
                self._is_over = True
                break
            at = begin
        return found

    def _payload(self, piece: bytes) -> Piece:
        self._left -= len(piece)
        payload = unmask(piece, self._mask)
        turn = len(piece) & 3
        if turn:
            self._mask = self._mask[turn:] + self._mask[:turn]
        return self._piece(payload)

    def _piece(self, payload: bytes) -> Piece:
        last = self._fin and not self._left
        piece = Piece(self._opcode, payload, self._first, last)
        self._first = False
        if last:
            self._opcode = 0
        return piece

    def _header(self, data: bytes, at: int, found: list[Piece | Control]) -> int:
        """Read a header at `at`, a control frame whole; return where what follows begins, or 0 for too few bytes."""
        if len(data) < at + 2:
            return 0
        first, second = data[at], data[at + 1]
        opcode = first & 0x0F
        length = second & 0x7F
        if first & 0x70:
            raise FrameError("reserved bits are set")
        if bool(second & 0x80) is not self._masked:
            wrong = "a frame of the client is not masked" if self._masked else "a frame of the server is masked"
            raise FrameError(wrong)
        self._check_opcode(opcode, fin=bool(first & 0x80), length=length)
        begin = at + 6 if self._masked else at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            begin += size
            length = int.from_bytes(data[at + 2 : at + 2 + size])
            if len(data) >= begin and (length >> 63 or length < (126 if size == 2 else 0x10000)):
                raise FrameError("the length of a frame is not written as it must be")
        if len(data) < begin + (length if opcode & 0x8 else 0):
            return 0
        mask = data[begin - 4 : begin] if self._masked else _NO_MASK
        if opcode & 0x8:
            end = begin + length
            found.append(_control(opcode, unmask(data[begin:end], mask)))
            return end
        self._mask = mask
        self._left = length
        self._fin = bool(first & 0x80)
        if opcode:
            self._opcode = opcode
            self._first = True
        if not length:
            found.append(self._piece(b""))
        return begin

    def _check_opcode(self, opcode: int, *, fin: bool, length: int) -> None:
        if opcode & 0x8:
            if opcode > PONG:
                raise FrameError("a control frame has an unknown opcode")
            if not fin or length > MAX_CONTROL:
                raise FrameError("a control frame is fragmented or too long")
        elif opcode > BINARY:
            raise FrameError("a frame has an unknown opcode")
        elif opcode == CONTINUATION and not self._opcode:
            raise FrameError("a message begins with a continuation")
        elif opcode != CONTINUATION and self._opcode:
            raise FrameError("a message begins within another")


def unmask(data: bytes, mask: bytes) -> bytes:
    """Apply `mask`, beginning with its first byte; the same act masks."""
    if mask == _NO_MASK:
        return data
    size = len(data)
    if size < _LANES_FROM:
        key = int.from_bytes((mask * (size // 4 + 1))[:size])
        return (int.from_bytes(data) ^ key).to_bytes(size)
    out = bytearray(data)
    for lane in range(4):
        out[lane::4] = out[lane::4].translate(_XOR_TABLES[mask[lane]])
    return bytes(out)


def header(opcode: int, length: int, *, fin: bool = True) -> bytes:
    """The header of an unmasked frame."""
    first = opcode | 0x80 if fin else opcode
    if length < 126:
        return bytes((first, length))
    if length < 0x10000:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A whole unmasked frame."""
    return header(opcode, len(payload), fin=fin) + payload


def masked_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A whole frame of a client; `mask` is four bytes that nobody can foretell (section 5.3)."""
    head = header(opcode, len(payload))
    return b"".join((head[:1], bytes((head[1] | 0x80,)), head[2:], mask, unmask(payload, mask)))


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; 1005 (no status) is one without a payload. A long reason is cut."""
    if code == 1005:
        return frame(CLOSE)
    words = reason.encode()[: MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return frame(CLOSE, code.to_bytes(2) + words)


def close_code(payload: bytes) -> int:
    """What a close frame says, 1005 where it says nothing."""
    return int.from_bytes(payload[:2]) if payload else 1005


def _control(opcode: int, payload: bytes) -> Control:
    if opcode == CLOSE and payload:
        code = close_code(payload)
        if len(payload) == 1 or not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in (1004, 1005, 1006):
            raise FrameError("a close frame has no valid code")
        try:
            payload[2:].decode()
        except UnicodeDecodeError as error:
            raise FrameError("the reason of a close frame is not UTF-8", 1007) from error
    return Control(opcode, payload)
