"""Visitors who never stop asking, on connections that they keep: whatever happens meanwhile, each gets an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from tests.support.peers.raw_visitor import RawVisitor, get


class Load:
    """What the visitors were answered so far: how often each (status, body)."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[int, bytes]] = Counter()
        self.failures: list[str] = []
        self._stop = False
        self._news = asyncio.Event()

    @property
    def statuses(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (status, _), count in self.answers.items():
            found[status] += count
        return found

    async def until(self, count: int, *, status: int = 0) -> None:
        """Wait for `count` more answers (of that status)."""
        wanted = self._seen(status) + count
        async with asyncio.timeout(20):
            while self._seen(status) < wanted and not self.failures:
                self._news.clear()
                await self._news.wait()

    def _seen(self, status: int) -> int:
        return self.statuses[status] if status else self.answers.total()

    async def visit(self, address: tuple[str, int], host: str) -> None:
        async with RawVisitor(address) as visitor:
            while not self._stop:
                try:
                    response = await visitor.request(get("/load", host))
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.failures.append(repr(error))
                    self._news.set()
                    return
                self.answers[response.status, response.body] += 1
                self._news.set()

    def stop(self) -> None:
        self._stop = True


@contextlib.asynccontextmanager
async def under_load(address: tuple[str, int], *, visitors: int = 8, host: str = "load.test") -> AsyncIterator[Load]:
    """Keep `visitors` asking for as long as the block lasts, and fail if one of them was dropped."""
    load = Load()
    async with asyncio.TaskGroup() as group:
        for _ in range(visitors):
            group.create_task(load.visit(address, host))
        try:
            await load.until(2 * visitors)
            yield load
        finally:
            load.stop()
    assert not load.failures, f"{len(load.failures)} visitors were dropped: {load.failures[0]}"
