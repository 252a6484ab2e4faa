"""How often something was done lately, per key, so that guessing and repeating end. Pure."""

from __future__ import annotations

from collections import OrderedDict

#: Keys that are counted at once. Where more are busy, new ones are refused: none is forgotten before its time.
MAX_KEYS = 10_000


class Counts:
    """At most `limit` times within `seconds` from the first."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def take(self, key: str, now: float) -> bool:
        """Count one more at `now`, seconds of any clock; return whether it is still allowed."""
        while self._counts and now - next(iter(self._counts.values()))[0] >= self._seconds:
            self._counts.popitem(last=False)
        begun, number = self._counts.get(key, (now, 0))
        if number >= self._limit or (key not in self._counts and len(self._counts) >= MAX_KEYS):
            return False
        self._counts[key] = (begun, number + 1)  # its place stays: they are in the order of their beginnings
        return True
