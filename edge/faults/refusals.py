"""Refusals that a test or a person has scripted for the next registrations. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.protocol.rpc.registration import Refusal

#: Scripted refusals that may wait.
MAX_SCRIPTED = 1000


@dataclass(slots=True)
class Refusals:
    """A queue of refusals; each registration takes one while there are any."""

    _waiting: deque[Refusal] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, refusal: Refusal, count: int = 1) -> bool:
        """Refuse `count` further registrations like this; False where too many would wait."""
        if count < 1 or len(self._waiting) + count > MAX_SCRIPTED:
            return False
        self._waiting.extend([refusal] * count)
        return True

    def take(self) -> Refusal | None:
        """Return the refusal for the registration that just came, if one waits."""
        return self._waiting.popleft() if self._waiting else None

    def clear(self) -> int:
        """Forget all of them, and say how many they were."""
        count = len(self._waiting)
        self._waiting.clear()
        return count
