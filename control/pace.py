"""How often each address may ask for something that needs no token."""

from __future__ import annotations

from collections import OrderedDict

#: Addresses that are remembered.
MAX_ADDRESSES = 10_000


class Pace:
    """A bucket for each address: so much at once, and one more every so many seconds. Pure: `now` is of any clock."""

    def __init__(self, *, burst: int, refill: float) -> None:
        self._burst, self._refill = burst, refill
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, now: float) -> bool:
        """Return whether `address` may ask now, and count it."""
        full_at = max(self._full_at.pop(address, now), now) + self._refill
        allowed = full_at - now <= self._burst * self._refill
        self._full_at[address] = full_at if allowed else full_at - self._refill
        if len(self._full_at) > MAX_ADDRESSES:
            self._full_at.popitem(last=False)
        return allowed
