"""How much is done in one turn of the event loop: what keeps a flood of tiny units from holding everybody else up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class TurnMeter:
    """Adds up the work of each turn, within `with`. The turns are told apart by a callback in each of them."""

    def __init__(self) -> None:
        self.turns = 0
        self.most = 0
        "The most work that one turn did."
        self.total = 0
        self._now = 0
        self._running = False

    def __enter__(self) -> TurnMeter:
        self._running = True
        self._turn()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False

    def add(self, count: int) -> None:
        """Work was done in this turn."""
        if not self._running:
            return
        self.total += count
        self._now += count
        self.most = max(self.most, self._now)

    def counting(self, function: Callable[..., Any], cost: Callable[[Any], int]) -> Callable[..., Any]:
        """Return `function` so that each call adds the cost of its result."""

        def counted(*arguments: Any, **more: Any) -> Any:
            result = function(*arguments, **more)
            self.add(cost(result))
            return result

        return counted

    def _turn(self) -> None:
        self._now = 0
        self.turns += 1
        if self._running:
            asyncio.get_running_loop().call_soon(self._turn)
