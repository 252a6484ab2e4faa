"""The requests of one edge connection that are being served: how many there may be, and when there are none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.tasks import TaskOwner

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pyconnector.connector.observe.log import Log

#: Requests of one connection that are served at once; what comes beyond is answered with an error.
MAX_REQUESTS = 12_000
#: Seconds of silence after which a drained connection counts as idle: requests may still be on their way.
IDLE_LINGER = 0.05


class RunningRequests:
    """Owns the task of every request of one connection."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks = TaskOwner(self._failed, self._wake_idle)
        self._idle_waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<RunningRequests {self.active}>"

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the tasks run on, once there was one."""
        return self._tasks.loop

    @property
    def active(self) -> int:
        """How many are being served."""
        return len(self._tasks)

    @property
    def refusal(self) -> str:
        """Why no further request may begin; empty where one may."""
        if len(self._tasks) < MAX_REQUESTS:
            return ""
        return f"the connector already serves {MAX_REQUESTS} streams on this connection"

    def start(self, serving: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Serve a request in a task of its own, and return that."""
        return self._tasks.spawn(serving, name=name)

    async def wait_idle(self) -> None:
        """Wait until no request is served and none came for a moment. Cancel at any time."""
        while True:
            while self.active:
                self._idle_waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._idle_waiter
                finally:
                    self._idle_waiter = None
            await asyncio.sleep(IDLE_LINGER)
            if not self.active:
                return

    async def abort_all(self) -> None:
        """Abort every request at once. Cancel leaves them aborting."""
        await self._tasks.cancel_all()

    def _wake_idle(self) -> None:
        if self._idle_waiter is not None and not self._idle_waiter.done():
            self._idle_waiter.set_result(None)

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._log.error("Serving a request failed: %s: %s", type(error).__name__, error, exc_info=error)
