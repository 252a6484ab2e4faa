"""WebSocket frames as a client writes and reads them."""

from __future__ import annotations

import struct
from typing import NamedTuple


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, key: bytes = b"\x12\x34\x56\x78") -> bytes:
    first = opcode | 0x80 if fin else opcode
    size = len(payload)
    if size < 126:
        header = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        header = struct.pack("!BBH", first, 0xFE, size)
    else:
        header = struct.pack("!BBQ", first, 0xFF, size)
    return header + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool


def read_frames(data: bytes) -> list[Frame]:
    """Every frame of a server in `data`, which must end with a whole one."""
    found = []
    while data:
        first, second = data[0], data[1]
        assert not second & 0x80, "a server never masks"
        size, at = second, 2
        if second == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif second == 127:
            size, at = int.from_bytes(data[2:10]), 10
        assert len(data) >= at + size, "a frame is cut off"
        found.append(Frame(first & 0x0F, data[at : at + size], bool(first & 0x80)))
        data = data[at + size :]
    return found
