"""What runs under somebody's identity, so that it ends when that may no longer pass."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.identity.policies.policy import Decision
    from pyconnector.identity.policies.rules import Caller

#: What is judged anew in one turn of the event loop after a change.
AT_ONCE = 200


class Ends(Protocol):
    """Something that runs, as far as a `RunningSet` must know it."""

    @property
    def abort(self) -> Callable[[], None]:
        """Cut it off."""

    @property
    def expires(self) -> float:
        """Seconds since the epoch at which it ends by itself."""


_log = logging.getLogger("pyconnector.edge.access")
_Runs = TypeVar("_Runs", bound=Ends)


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """One request, WebSocket or TCP stream, from its admission to its end."""

    host: str
    path: str
    caller: Caller
    decision: Decision
    abort: Callable[[], None] = field(repr=False)
    "Cut it off."
    expires: float = math.inf
    "Seconds since the epoch at which it ends by itself: that of a narrowed token, or of the service token."
    versions: tuple[float, ...] = ()
    "From when on what was issued counted, for the service token and each application, when it was let pass."


class RunningSet(Generic[_Runs]):
    """Everything of one kind that runs."""

    def __init__(self, may_go_on: Callable[[_Runs], bool]) -> None:
        self._all: dict[_Runs, None] = {}
        self._may_go_on = may_go_on
        self._left: list[_Runs] = []
        self._stale = False  # whether what is left is to be counted anew
        self._next_end = math.inf

    def __len__(self) -> int:
        return len(self._all)

    def add(self, running: _Runs) -> None:
        """Something begins."""
        self._all[running] = None
        self._next_end = min(self._next_end, running.expires)

    def remove(self, running: _Runs) -> None:
        """It is over. Idempotent."""
        self._all.pop(running, None)

    def judge_anew(self) -> None:
        """Something changed: end what may not go on, in slices between which the loop turns."""
        scheduled = self._stale or bool(self._left)
        self._stale = bool(self._all)
        if self._stale and not scheduled:
            asyncio.get_running_loop().call_soon(self._judge_some)

    def end_expired(self, now: float) -> None:
        """End what has come to its time. `now` is seconds since the epoch; called every now and then."""
        if now < self._next_end:
            return
        expired = [running for running in self._all if running.expires <= now]
        for running in expired:
            self._end(running)
        self._next_end = min((running.expires for running in self._all), default=math.inf)

    def _judge_some(self) -> None:
        if self._stale:
            self._stale, self._left = False, list(self._all)
        some, self._left = self._left[-AT_ONCE:], self._left[:-AT_ONCE]
        try:
            for running in some:
                if running in self._all and not self._may_surely_go_on(running):
                    self._end(running)
        finally:
            if self._left or self._stale:
                asyncio.get_running_loop().call_soon(self._judge_some)

    def _may_surely_go_on(self, running: _Runs) -> bool:
        try:
            return self._may_go_on(running)
        except Exception:  # noqa: BLE001 - in doubt nobody goes on
            _log.exception("Whether %s may go on cannot be told: it ends", type(running).__name__)
            return False

    def _end(self, running: _Runs) -> None:
        self.remove(running)
        try:
            running.abort()
        except Exception:  # noqa: BLE001 - whatever it is, the others have to end all the same
            _log.exception("%s could not be ended in good order", type(running).__name__)
