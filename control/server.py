"""The HTTP server of the control plane, in whatever event loop runs, with no hand on signals or logs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from pyconnector.control.connection import ApiConnection, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

#: Requests at once; one more is answered 503.
MAX_REQUESTS = 2000
#: Bytes of a request's head.
MAX_HEAD = 64 * 1024
#: Seconds that requests may go on once the server is to end.
GRACE = 3


class ApiServer:
    """Serves one application from `start` to `close`."""

    def __init__(self, app: ASGIApp) -> None:
        connection = type("Connection", (ApiConnection,), {"turns": Turns()})
        configuration = uvicorn.Config(
            app, http=connection, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            limit_concurrency=MAX_REQUESTS, h11_max_incomplete_event_size=MAX_HEAD, timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        self._server = _Embedded(configuration)
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken or not ours.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
        # Accepted sockets have it from here, and asyncio would leave it out: a body after its head waits 40 ms without.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        bound = listener.getsockname()
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[listener]), name="control API server"
        )
        try:
            await self._server.listening.wait()
        except BaseException:
            await self.close()
            listener.close()
            raise
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """Let requests under way end, for a while, and stop. Idempotent. Cancel leaves it stopping."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None


class _Embedded(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the command line's

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()
