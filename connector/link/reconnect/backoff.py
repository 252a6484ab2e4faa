"""How long a connection waits before its next attempt (reference/lifecycle.md 5.3). Pure: randomness is an argument.

The supervisor owns one `Backoff` per connection index.
"""

from __future__ import annotations

from collections.abc import Callable

#: Seconds that the first bound is made of.
BASE_SECONDS = 1.0
#: Doublings after which the bound grows no further, unless `--retries` says otherwise.
MAX_RETRIES = 5
#: Largest number of doublings that is believed, whatever `--retries` says (base 1 s: about 18 hours).
MAX_DOUBLINGS = 16


class Backoff:
    """Waits drawn from [0, base * 2**n) where n grows with every failure up to `max_retries`, without end."""

    def __init__(
        self, *, random: Callable[[], float], base: float = BASE_SECONDS, max_retries: int = MAX_RETRIES
    ) -> None:
        self._random = random
        self._base = base
        self._max_retries = max(0, min(max_retries, MAX_DOUBLINGS))
        self.failures = 0
        "Failures since the last success, as they are counted towards the bound."

    def __repr__(self) -> str:
        return f"<Backoff failures={self.failures} bound={self.bound:g}s>"

    @property
    def bound(self) -> float:
        """The bound of the latest draw, in seconds."""
        return self._base * 2.0**self.failures

    @property
    def exhausted(self) -> bool:
        """Whether the bound has stopped growing."""
        return self.failures >= self._max_retries

    def next_delay(self) -> float:
        """Count one more failure and return how many seconds to wait."""
        self.failures = min(self.failures + 1, self._max_retries)
        return self._random() * self.bound

    def reset(self) -> None:
        """A connection registered: the next failure begins anew."""
        self.failures = 0
