"""Bytes that all connections of one client may hold together. Pure."""

from __future__ import annotations


class Pool:
    """A bound that is shared: whoever takes gives back."""

    __slots__ = ("size", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def __repr__(self) -> str:
        return f"<Pool {self.used} of {self.size} bytes>"

    def take(self, wanted: int, at_least: int = 0) -> int:
        """Return how much of `wanted` may be had. `at_least` is had in any case, so that nobody waits for ever; how
        often that may be is bounded by the number of connections."""
        granted = max(min(wanted, self.size - self.used), min(at_least, wanted), 0)
        self.used += granted
        return granted

    def give(self, count: int) -> None:
        """Give back."""
        self.used -= count
