"""The maximum of a stream of values over a sliding window, kept in a handful of entries.

BBR uses one over ProbeBW cycles (max_bw) and one over rounds (extra_acked). The time is any counter that never goes
back; a window of N covers the present tick and the N - 1 before it.
"""

from __future__ import annotations

from collections import deque


class WindowedMaxFilter:
    """An exact windowed maximum: entries fall in value from old to new, one a tick, so at most `window` are held."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def update(self, value: float, *, time: int, window: int) -> float:
        """Take `value` in at `time` and return the greatest of the last `window` ticks."""
        entries = self._entries
        while entries and entries[-1][1] <= value:
            entries.pop()
        # A smaller value of the same tick can never become the maximum: it expires with the greater one.
        if not entries or entries[-1][0] != time:
            entries.append((time, value))
        while entries[0][0] <= time - window:
            entries.popleft()
        return entries[0][1]
