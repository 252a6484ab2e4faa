"""Local ports that lead to services behind Access."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.carry import PIECE, SocketEnd, join, reset

if TYPE_CHECKING:
    from pyconnector.agent.access.dial import Dialer

#: Programs' connections at once, of one port.
MAX_CLIENTS: Final = 1_024

_log = logging.getLogger("pyconnector.access")


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
        self._server = await asyncio.start_server(self._accept, host, port, limit=PIECE)
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
            _log.warning("%d connections are open: rejected one more", MAX_CLIENTS)
            reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await join(SocketEnd(reader, writer), await self._dialer.open())
        except AccessError as error:
            _log.warning("%s", error)
            reset(writer)
        except OSError as error:
            _log.debug("a program's connection ended: %s", error)
            reset(writer)
        except asyncio.CancelledError:
            reset(writer)  # the port is closed
        finally:
            self._clients.discard(task)
            writer.close()
