"""Sharing out the turns of the loop: whoever has more work than one turn may hold waits here, first come, first served.

One turn serves a few of those who wait, however many they are, so that a flood on many connections delays its senders
and not the packets, timers and first requests of everybody else (docs/architecture.md, "Bounded work").
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Pieces of work that waited and are done in one turn of the loop. Each is bounded by whoever puts it here.
JOBS_A_TURN = 8


class Turns:
    """A queue of small pieces of work, of which each turn of the loop does `JOBS_A_TURN`."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def __repr__(self) -> str:
        return f"<Turns waiting={len(self._waiting)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, job: Callable[[], None]) -> None:
        """Call `job` in a later turn. It may add itself again."""
        self._waiting.append(job)
        self._schedule()

    async def wait(self) -> None:
        """Wait for a later turn. Cancel at any time."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if not turn.done():
                turn.set_result(None)

        self.add(begin)
        await turn

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        try:
            for _ in range(min(JOBS_A_TURN, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._schedule()
