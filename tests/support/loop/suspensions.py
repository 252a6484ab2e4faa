"""Cancel a task at each point where it waits, before and after what it waits for has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from enum import Enum
from typing import Any


class When(Enum):
    """When the task is cancelled that waits at a suspension point."""

    BEFORE = "while it waits"
    AFTER = "once what it waits for has come, and before it wakes"


class _Watched:
    """Awaits `work`; at suspension number `stop` the task is cancelled."""

    def __init__(self, work: Awaitable[Any], stop: int, when: When) -> None:
        self._work = work
        self._stop = stop
        self._when = when
        self.count = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        step: Callable[[], Any] = lambda: next(inner)  # noqa: E731
        while True:
            try:
                waits_for = step()
            except StopIteration as stop:
                return stop.value
            self.count += 1
            if self.count == self._stop:
                self._cancel(waits_for)
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - handed on to the work
                step = _thrower(inner, error)
            else:
                step = lambda: next(inner)  # noqa: E731

    def _cancel(self, waits_for: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if waits_for is None or self._when is When.BEFORE:
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            # Ours is called ahead of the task's own wakeup, which is added after this.
            waits_for.add_done_callback(lambda _: task.cancel())


def _thrower(inner: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


async def cancel_everywhere(
    make: Callable[[], Awaitable[Any]], check: Callable[[], Awaitable[None]], *, most: int = 40
) -> int:
    """Run `make()` again and again, cancelled at its first, second, ... suspension, each before and after.

    `check` is awaited after each run. Returns how many suspensions there were.
    """
    for stop in range(1, most):
        suspended = 0
        for when in When:
            watched = _Watched(make(), stop, when)
            task = asyncio.ensure_future(_run(watched))
            await asyncio.wait({task})
            suspended = max(suspended, watched.count)
            try:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
                await check()
            except BaseException as error:
                error.add_note(f"cancelled at suspension {stop}, {when.value}")
                raise
        if suspended < stop:
            return stop - 1
    raise AssertionError(f"more than {most} suspensions")


async def _run(watched: _Watched) -> Any:
    return await watched
