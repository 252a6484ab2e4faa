"""Deadlines that a starved machine does not bring forward: time counts only as far as the event loop had its turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

#: Seconds between two beats. A beat that comes late counts as one all the same.
BEAT = 0.1


class Patience:
    """Beats while it is entered; what takes more beats than it may is over."""

    def __init__(self) -> None:
        self.latest = 0.0
        "Seconds that the worst beat came late."
        self._beats = 0
        self._waiting: dict[asyncio.Timeout, int] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beat for as long as the block lasts."""
        task = asyncio.create_task(self._beat(), name="stress beat")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @contextlib.asynccontextmanager
    async def at_most(self, seconds: float) -> AsyncIterator[None]:
        """As `asyncio.timeout`, in beats.

        Raises:
            TimeoutError: the block took longer.
        """
        async with asyncio.timeout(None) as timeout:
            self._waiting[timeout] = self._beats + round(seconds / BEAT)
            try:
                yield
            finally:
                del self._waiting[timeout]

    async def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Look again and again until `condition` holds; False where it did not within the time, in beats."""
        ends = self._beats + round(seconds / BEAT)
        while not condition():
            if self._beats > ends:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self.latest = max(self.latest, loop.time() - due)
            self._beats += 1
            for timeout in self._overdue():
                timeout.reschedule(loop.time())

    def _overdue(self) -> Iterator[asyncio.Timeout]:
        for timeout, ends in list(self._waiting.items()):
            if ends == self._beats:
                yield timeout
