"""Which streams the frames of a packet touch, and up to which offset (RFC 9000 19). Pure."""

from __future__ import annotations

_PADDING, _ACK, _ACK_ECN, _CRYPTO, _NEW_TOKEN = 0x00, 0x02, 0x03, 0x06, 0x07
_STREAM, _STREAM_LAST, _HAS_OFFSET, _HAS_LENGTH = 0x08, 0x0F, 0x04, 0x02
_STOP_SENDING, _MAX_STREAM_DATA = 0x05, 0x11
_NEW_CONNECTION_ID, _CLOSE, _CLOSE_BY_USER, _DATAGRAM, _DATAGRAM_WITH_LENGTH = 0x18, 0x1C, 0x1D, 0x30, 0x31
#: How many numbers follow the type of frames that hold nothing else.
_NUMBERS = {0x01: 0, 0x04: 3, _STOP_SENDING: 2, 0x10: 1, _MAX_STREAM_DATA: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2}
_NUMBERS |= {0x16: 1, 0x17: 1, 0x19: 1, 0x1E: 0}
#: Bytes that follow the type of frames that hold no numbers: PATH_CHALLENGE and PATH_RESPONSE.
_FIXED = {0x1A: 8, 0x1B: 8}


class _Cursor:
    """A place in the frames of a packet."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        """Return the variable-length integer here and go past it; IndexError where the data ends before."""
        data, at = self.data, self.at
        first = data[at]
        if first < 0x40:
            self.at = at + 1
            return first
        size = 1 << (first >> 6)
        self.at = at + size
        return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)

    def skip(self, size: int) -> None:
        """Go past `size` bytes."""
        self.at += size


def frames_of_streams(payload: bytes) -> list[tuple[int, int]]:
    """Return number of the stream and end offset of each frame that has the receiver keep state for a stream.

    What follows a frame that cannot be understood is left out: the connection ends because of it.
    """
    frames: list[tuple[int, int]] = []
    cursor = _Cursor(payload)
    try:
        while cursor.at < len(payload):
            _read_frame(cursor, frames)
    except (IndexError, ValueError):
        pass
    return frames


def _read_frame(cursor: _Cursor, frames: list[tuple[int, int]]) -> None:
    kind = cursor.number()
    if _STREAM <= kind <= _STREAM_LAST:
        stream_id = cursor.number()
        offset = cursor.number() if kind & _HAS_OFFSET else 0
        size = cursor.number() if kind & _HAS_LENGTH else len(cursor.data) - cursor.at
        frames.append((stream_id, offset + size))
        cursor.skip(size)
    elif kind == _PADDING:
        rest = cursor.data[cursor.at :]
        cursor.skip(len(rest) - len(rest.lstrip(b"\0")))
    elif kind in _NUMBERS:
        numbers = [cursor.number() for _ in range(_NUMBERS[kind])]
        if kind in (_STOP_SENDING, _MAX_STREAM_DATA):
            frames.append((numbers[0], 0))
    elif kind in (_ACK, _ACK_ECN):
        cursor.number()
        cursor.number()
        ranges = cursor.number()
        for _ in range(1 + 2 * ranges + (3 if kind == _ACK_ECN else 0)):
            cursor.number()
    else:
        _skip_bytes(kind, cursor)


def _skip_bytes(kind: int, cursor: _Cursor) -> None:
    if kind in _FIXED:
        cursor.skip(_FIXED[kind])
    elif kind in (_DATAGRAM_WITH_LENGTH, _NEW_TOKEN):
        cursor.skip(cursor.number())
    elif kind == _CRYPTO:
        cursor.number()
        cursor.skip(cursor.number())
    elif kind == _NEW_CONNECTION_ID:
        cursor.number()
        cursor.number()
        cursor.skip(cursor.number() + 16)
    elif kind in (_CLOSE, _CLOSE_BY_USER, _DATAGRAM):
        cursor.skip(len(cursor.data))
    else:
        raise ValueError(f"there is no frame of type {kind}")
