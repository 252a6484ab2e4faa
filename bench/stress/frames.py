"""WebSocket frames, for both ends of the harness: final frames alone (RFC 6455 5.2), quick on large payloads."""

from __future__ import annotations

import asyncio
import struct

#: Opcodes.
BINARY, CLOSE = 2, 8


def frame(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """Return a frame; with a `key` of 4 bytes it is masked, as clients must."""
    size, mask = len(payload), 0x80 if key else 0
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, mask | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, mask | 127, size)
    return head + key + (masked(payload, key) if key else payload)


def masked(payload: bytes, key: bytes) -> bytes:
    """Mask, or unmask."""
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of the next frame.

    Raises:
        asyncio.IncompleteReadError: the peer ended.
    """
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    key = await reader.readexactly(4) if second & 0x80 else b""
    payload = await reader.readexactly(size)
    return first & 0x0F, masked(payload, key) if key else payload
