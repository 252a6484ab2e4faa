"""An event loop in virtual time: when nothing is ready it jumps to the next timer; when nothing is armed it says so.

For tests without sockets only: with real ones it would jump ahead of packets in flight.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

#: Seconds of real time that a thread has to wake a loop in which nothing is armed.
PATIENCE = 10.0


class Deadlock(RuntimeError):
    """Everything waits and no timer is armed."""


class _JumpSelector(selectors.DefaultSelector):
    """Polls without waiting, and moves the clock by what would have been waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(PATIENCE)  # a thread may be about to wake the loop
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("everything waits and no timer is armed")
        self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual and starts at 0."""

    def __init__(self) -> None:
        self.selector = _JumpSelector()
        super().__init__(self.selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.selector.now


def hours(count: float) -> float:
    return count * 3600.0


def fields_of(record: Any) -> Mapping[str, object]:
    values: Mapping[str, object] = getattr(record, "fields", {})
    return values
