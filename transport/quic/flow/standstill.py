"""Time that passed while this process or its whole machine stood still: stopped, paused, halted, suspended.

The far end gave the connection up meanwhile, or is about to. Without a look at the clock, datagrams that waited in the
socket make everything look alive, and an acknowledgment among them makes a round trip of the pause (FINDINGS).
"""

from __future__ import annotations

import time
from collections.abc import Callable


def _clock() -> float:
    """Seconds, those included that the machine was suspended, where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


#: The clock of `Standstill` unless it is given another.
SUSPENDED_TOO: Callable[[], float] = _clock if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class Standstill:
    """Looks at the clock whenever its connection does anything, and it must do so every now and then."""

    __slots__ = ("_clock", "_limit", "_looked")

    def __init__(self, limit: float, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SUSPENDED_TOO
        self._limit = limit
        self._looked = self._clock()

    def __repr__(self) -> str:
        return f"<Standstill limit={self._limit:g}s>"

    def look(self) -> float:
        """Return for how many seconds nobody looked, if longer than the limit; else 0."""
        now = self._clock()
        passed = now - self._looked
        self._looked = now
        return passed if passed > self._limit else 0.0
