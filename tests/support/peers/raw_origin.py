"""A scripted TCP (or unix, or TLS) server: each connection runs one script of expected bytes and answers.

A script is a coroutine that takes a `Peer`. Whatever it raises fails the test when the server closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

#: Seconds after which waiting for the other side is a failure.
PATIENCE = 30.0


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = b""
        self.requests = 0

    async def head(self) -> bytes:
        """Read up to and with the empty line of a request."""
        data = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        self.received += data
        self.requests += 1
        return data

    async def exactly(self, count: int) -> bytes:
        data = await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)
        self.received += data
        return data

    async def some(self) -> bytes:
        data = await asyncio.wait_for(self.reader.read(65536), PATIENCE)
        self.received += data
        return data

    async def rest(self) -> bytes:
        """Read until the client ends its sending side."""
        data = await asyncio.wait_for(self.reader.read(), PATIENCE)
        self.received += data
        return data

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        for piece in pieces:
            if self.writer.is_closing():  # uvloop's transports raise what is no ConnectionError
                raise ConnectionResetError("the client is gone")
            self.writer.write(piece)
            await asyncio.wait_for(self.writer.drain(), PATIENCE)
            if len(pieces) > 1:
                await asyncio.sleep(0.001)

    async def closed(self) -> None:
        """Wait until the client is gone, however it went; bytes before that are a failure."""
        with contextlib.suppress(ConnectionError):
            data = await asyncio.wait_for(self.reader.read(), PATIENCE)
            assert data == b"", f"unexpected bytes: {data[:80]!r}"

    async def closed_after_rest(self) -> None:
        """Take whatever still comes until the client is gone, however it went."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(1 << 20), PATIENCE):
                pass

    def end(self) -> None:
        self.writer.close()

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


class RawOrigin:
    """The server: connection number n runs script n, the last script serves all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self.port = 0
        self.running: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        self.peers.append(peer)
        try:
            await script(peer)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again when the server closes; pytest's own are no Exception
            self.failures.append(error)
        finally:
            writer.close()
            try:
                with contextlib.suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()
            except asyncio.CancelledError:
                # The server closes while TLS still says goodbye: without this its socket would outlive the loop.
                writer.transport.abort()
                await asyncio.sleep(0.001)
            finally:
                self.running.discard(task)


@contextlib.asynccontextmanager
async def raw_origin(
    *scripts: Script, tls: ssl.SSLContext | None = None, path: str = "", backlog: int = 100
) -> AsyncIterator[RawOrigin]:
    """Serve `scripts` while the block runs; afterwards raise what a script raised."""
    origin = RawOrigin(*scripts)
    if path:
        server: asyncio.Server = await asyncio.start_unix_server(origin.accept, path, ssl=tls)
    else:
        server = await asyncio.start_server(origin.accept, "127.0.0.1", 0, ssl=tls, backlog=backlog, limit=1 << 20)
        origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        await asyncio.sleep(0.002)  # asyncio leaks a connection that is being accepted while its server closes
        server.close()
        running = list(origin.running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        await server.wait_closed()
    if origin.failures:
        raise origin.failures[0]


def answering(response: bytes) -> Script:
    """A script that gives every request of a connection the same answer, until the client is gone."""

    async def script(peer: Peer) -> None:
        try:
            while True:
                await peer.reader.readuntil(b"\r\n\r\n")
                peer.requests += 1
                peer.writer.write(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    return script
