"""The one module that makes tasks: each has a name, an owner and someone who reads its outcome.

asyncio keeps only weak references to tasks and reports a forgotten failure when the garbage collector finds it.
A `TaskOwner` keeps its tasks alive, hands each failure to its `on_failure` at once, and can end them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class TaskOwner:
    """Tasks that belong together. `on_failure` gets every exception they end with; cancellation is not one.

    `on_idle` is called whenever the last of them has ended.
    """

    def __init__(
        self, on_failure: Callable[[asyncio.Task[Any], BaseException], None], on_idle: Callable[[], None] | None = None
    ) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure
        self._on_idle = on_idle
        self.loop: asyncio.AbstractEventLoop | None = None
        "The loop of the tasks, once there was one. Asked for once: each time costs a system call."

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<TaskOwner tasks={len(self._tasks)}>"

    def spawn(self, coroutine: Coroutine[Any, Any, _T], *, name: str) -> asyncio.Task[_T]:
        """Run `coroutine` as a task of this owner."""
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def cancel_all(self, *, timeout: float = 5.0) -> None:
        """Cancel every task and wait until they ended, at most `timeout` seconds. Cancel leaves them cancelled."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def cancel(self) -> None:
        """Cancel every task without waiting for its end."""
        for task in tuple(self._tasks):
            task.cancel()

    async def wait_all(self) -> None:
        """Wait until every task that there is now has ended, whatever its outcome. Cancel leaves them running."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task, error)
        if not self._tasks and self._on_idle is not None:
            self._on_idle()
