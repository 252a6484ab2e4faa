"""How many private-network flows may be active at once (`maxActiveFlows`, reference/lifecycle.md 6).

One counter for the whole connector, shared by TCP streams and UDP sessions of every connection. Only the event
loop's thread touches it.
"""

from __future__ import annotations


class FlowLimiter:
    """A counter with a limit that may change while flows are active. A limit of 0 means none."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.active = 0

    def __repr__(self) -> str:
        return f"<FlowLimiter active={self.active} limit={self.limit or 'none'}>"

    def acquire(self) -> bool:
        """Count one more flow, or return False where the limit is reached."""
        if self.limit and self.active >= self.limit:
            return False
        self.active += 1
        return True

    def release(self) -> None:
        """Give back what `acquire` counted. Never goes below zero."""
        self.active = max(0, self.active - 1)
