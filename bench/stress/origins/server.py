"""A TCP server that knows how many connections it holds, and can break one off with a reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.stress.ledger import Ledger

#: Bytes that an origin reads at once.
PIECE = 65_536


class Gone(Exception):
    """The origin ended this connection itself, or the peer is gone."""


class Peer:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write and wait for room."""
        write(self.writer, data)
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        reset(self.writer)


def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write; on a transport that is gone uvloop's own raises RuntimeError.

    Raises:
        ConnectionResetError: it is gone.
    """
    if writer.transport.is_closing():
        raise ConnectionResetError("the connection is gone")
    writer.write(data)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None and not writer.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Server:
    """Runs `serve` for each connection. Defects of the harness's own code become findings."""

    def __init__(self, serve: Callable[[Peer], Awaitable[None]], ledger: Ledger) -> None:
        self._serve = serve
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def held(self) -> int:
        """Connections that are open."""
        return len(self._tasks)

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(Peer(reader, writer))
        except (Gone, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - told in the report
            self._ledger.finding(f"at an origin: {type(error).__name__}: {error}")
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)
