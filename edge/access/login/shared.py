"""What is counted at all edges of a mesh together: the control plane keeps the counts.

While it is away an edge counts by itself, and only for logins that began here: whoever guesses gets no more by going
from edge to edge.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TypeAlias

#: From key, limit and seconds to whether it is still allowed; None where nobody could be asked.
Ask: TypeAlias = Callable[[str, int, int], Awaitable[bool | None]]


class SharedCounts:
    """The counts as one edge sees them."""

    def __init__(self) -> None:
        self.ask: Ask | None = None
        "The control plane; None for an edge that is alone: what it counts by itself is all there is."
        self.edge = os.urandom(8).hex()
        "What logins that began here are known by."

    async def take(self, kind: str, name: str, limit: int, seconds: int, *, begun_at: str) -> bool:
        """Count one more; return whether it is allowed. `begun_at` is the edge at which that login began.

        Cancel leaves it counted or not.
        """
        if self.ask is None:
            return True
        allowed = await self.ask(f"{kind}:{sha256(name.encode()).hexdigest()}", limit, seconds)
        return begun_at == self.edge if allowed is None else allowed
