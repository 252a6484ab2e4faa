"""The service behind the connector under test: HTTP, WebSocket upgrade and TCP echo, as cheap as Python allows.

Run as a process of its own (`python -m bench.house.origin`); it prints one JSON line with its ports and serves until
killed.

Paths: /bytes/N answers N bytes, POST reads the whole body and answers its length, at /slow/N no more than N bytes a
second, /stream sends one chunk at once and the rest a moment later, an Upgrade request echoes what follows. The TCP
port echoes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from typing import cast

import httptools

#: How long a streamed response goes on after its first chunk.
STREAM_SECONDS = 0.002
#: Bytes read at once: by any connection, and by one at /slow/N of its N bytes a second.
READ_BYTES, SLOW_SHARE = 256 * 1024, 16
_BODY = bytes(range(256)) * 4096
_SPACE = memoryview(bytearray(READ_BYTES))
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HttpOrigin(asyncio.BufferedProtocol):
    """One HTTP/1.1 connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""
        self.received = 0
        self.step = READ_BYTES
        self.due = 0.0
        self.key: bytes | None = None
        self.echo = False
        self.resume: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _SPACE[: self.step]

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_SPACE[:nbytes])
        if self.echo:
            self.transport.write(_frame(_unmask(data)))
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()

    def on_url(self, url: bytes) -> None:
        self.path = url
        self.received = 0
        self.key = None
        if url.startswith(b"/slow/"):
            self.step = max(min(int(url[6:]) // SLOW_SHARE, READ_BYTES), 1)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"sec-websocket-key":
            self.key = value

    def on_body(self, body: bytes) -> None:
        self.received += len(body)
        if self.path.startswith(b"/slow/"):
            # After each piece, wait as long as it is worth, by a clock of this connection's own.
            self.transport.pause_reading()
            loop = asyncio.get_running_loop()
            now, period = loop.time(), len(body) / int(self.path[6:])
            self.due = max(self.due + period, now) if self.due else now + period * random.random()
            loop.call_at(self.due, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def on_message_complete(self) -> None:
        if self.key is not None:
            return
        if self.path.startswith(b"/bytes/"):
            self._answer_bytes(int(self.path[7:]))
        elif self.path.startswith(b"/stream"):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self.transport.write(b"8\r\ndata: 1\n\r\n")
            asyncio.get_running_loop().call_later(STREAM_SECONDS, self.transport.write, b"0\r\n\r\n")
        else:
            text = str(self.received).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def _answer_bytes(self, size: int) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
        if size <= len(_BODY):
            self.transport.write(head + _BODY[:size])
            return
        self.transport.write(head)
        asyncio.get_running_loop().create_task(self._pour(size), name="pour")

    async def _pour(self, size: int) -> None:
        while size > 0 and not self.transport.is_closing():
            piece = _BODY[: min(size, 262_144)]
            self.transport.write(piece)
            size -= len(piece)
            if self.resume is not None:
                await self.resume.wait()

    def pause_writing(self) -> None:
        self.resume = asyncio.Event()

    def resume_writing(self) -> None:
        if self.resume is not None:
            self.resume.set()
            self.resume = None

    def _upgrade(self) -> None:
        accept = base64.b64encode(hashlib.sha1((self.key or b"") + _GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.echo = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()


def _unmask(data: bytes) -> bytes:
    """The payload of one small masked frame that arrived whole."""
    size = data[1] & 0x7F
    mask, payload = data[2:6], data[6 : 6 + size]
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))


def _frame(payload: bytes) -> bytes:
    return bytes((0x82, len(payload))) + payload


class EchoOrigin(asyncio.Protocol):
    """One TCP connection whose bytes come back, as fast as they are taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


async def serve() -> None:
    """Listen on two ports of the system's choice, say which, and never return."""
    loop = asyncio.get_running_loop()
    http = await loop.create_server(HttpOrigin, "127.0.0.1", 0, backlog=4096)
    echo = await loop.create_server(EchoOrigin, "127.0.0.1", 0, backlog=4096)
    ports = {"http": http.sockets[0].getsockname()[1], "tcp": echo.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Run with uvloop where it is installed, so that the origin is not what is measured."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


if __name__ == "__main__":
    main()
