"""The WebSocket origin: a conversation that echoes messages, begins late, breaks off or is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random

from bench.stress.frames import BINARY, CLOSE, frame, read_frame
from bench.stress.origins.server import Gone, Peer

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def converse(peer: Peer, behaviour: str, key: str, *, announces: bool = False) -> None:
    """Shake hands and echo until the visitor closes. `announces`: see `HttpOrigin`."""
    dice = random.Random(key)
    if behaviour == "refuse":
        last = b"Connection: close\r\n" if announces else b""
        await peer.send(b"HTTP/1.1 403 Forbidden\r\n%bContent-Length: 2\r\n\r\nno" % last)
        return
    if behaviour == "late":
        await asyncio.sleep(dice.uniform(0, 0.1))
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())
    await peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    left = dice.randrange(3) if behaviour == "cut" else -1
    while left:
        opcode, payload = await read_frame(peer.reader)
        await peer.send(frame(CLOSE if opcode == CLOSE else BINARY, payload))
        if opcode == CLOSE:
            return
        left -= 1
    if dice.random() < 0.5:
        peer.reset()
    raise Gone
