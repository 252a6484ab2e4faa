"""How often a peer may do what costs it less than us: a burst at once, then so many a second. Pure."""

from __future__ import annotations


class Budget:
    """An allowance that fills up with time."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = float(burst)
        self._rate = rate
        self._left = float(burst)
        self._since: float | None = None

    def spend(self, now: float, count: int = 1) -> bool:
        """Take `count`; False where less is left. `now` in seconds, from any clock that only goes forward."""
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < count:
            return False
        self._left -= count
        return True
