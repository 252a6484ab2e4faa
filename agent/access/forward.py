"""Local ports, and the standard streams of a process, joined with a service behind Access."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.agent.access.errors import AccessError

if TYPE_CHECKING:
    from pyconnector.agent.access.dial import Dialer
    from pyconnector.agent.access.stream import AccessStream

#: Programs' connections at once, of one port.
MAX_CLIENTS: Final = 1_024
#: Seconds for which a service may be silent after its client has sent everything, before it is told so: a WebSocket
#: cannot end one direction alone, and a connector gives the service one more second then.
SILENCE_AFTER_END: Final = 5.0
_PIECE: Final = 64 * 1024

_log = logging.getLogger("pyconnector.access")


class Near(Protocol):
    """The program's side."""

    async def receive(self) -> bytes:
        """Return bytes of the program, b"" at its end. Cancel loses none."""

    async def send(self, data: bytes) -> None:
        """Send bytes to the program, waiting while it takes less than comes."""


async def join(near: Near, far: AccessStream) -> None:
    """Carry bytes both ways until the service has ended. Cancel, or a failure, breaks both off.

    Raises:
        AccessError: the edge broke off.
        OSError: the program did.
    """
    heard = asyncio.Event()
    sending = asyncio.create_task(_send(near, far, heard), name="access to the service")
    try:
        while data := await far.receive():
            heard.set()
            await near.send(data)
        far.close()
    except BaseException:
        far.abort()
        raise
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await sending


async def _send(near: Near, far: AccessStream, heard: asyncio.Event) -> None:
    try:
        while data := await near.receive():
            await far.send(data)
    except OSError:
        far.abort()  # what `receive` makes of it is the reason
        return
    await _silence(heard)
    far.finish()


async def _silence(heard: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        while True:
            heard.clear()
            async with asyncio.timeout(SILENCE_AFTER_END):
                await heard.wait()


class _Socket:
    """A program's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        return await self._reader.read(_PIECE)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Forward:
    """A port of this machine that leads to one application, between `start` and `close`."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Forward to {self._dialer.place.host} clients={len(self._clients)}>"

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        self._server = await asyncio.start_server(self._accept, host, port, limit=_PIECE)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """Stop listening and break off every connection. Idempotent. Cancel leaves some of them ending."""
        if self._server is not None:
            self._server.close()
        clients = tuple(self._clients)
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(clients)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            _log.warning("%d connections are open: one more is turned away", MAX_CLIENTS)
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await join(_Socket(reader, writer), await self._dialer.open())
        except AccessError as error:
            _log.warning("%s", error)
            writer.transport.abort()
        except OSError as error:
            _log.debug("a program's connection ended: %s", error)
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()  # the port is closed
        finally:
            self._clients.discard(task)
            writer.close()
