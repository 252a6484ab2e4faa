"""Why nobody is known by what a request shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.identity.policies.policy import Reason


class NotIdentified(Exception):
    """Nobody is known by what was shown. `guessing` says whether it may have been an attempt at somebody else's."""

    def __init__(self, reason: Reason, *, guessing: bool = True) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.guessing = guessing
