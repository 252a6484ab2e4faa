"""Several services for one rule: which to try next, and whether a request may be sent again (#434, #451, #725).

Pure decisions: the origins room makes the connections and the checks, and tells `Backends` how they went.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

#: Methods that may be sent again although an origin may have seen them (RFC 9110 9.2.2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
#: Seconds between the first two attempts at a service that refuses, and the most between two.
FIRST_RETRY_DELAY, MAX_RETRY_DELAY = 0.05, 1.0

Balance = Literal["failover", "round-robin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a service is asked whether it is well. Seconds; a path only for HTTP, else a connection is the check."""

    path: str = ""
    interval: float = 10.0
    timeout: float = 2.0
    unhealthy_after: int = 3
    "Failures in a row after which a service is left out."
    healthy_after: int = 1
    "Successes in a row after which it is used again."


@dataclass(slots=True)
class _Backend:
    up: bool = True
    streak: int = 0
    "Successes in a row, or failures as a negative number."
    down_since: float = 0.0


@dataclass(slots=True)
class Backends:
    """The state of the services of one rule; number 0 is the rule's own `service`.

    Without a health check a service that failed is left out for `check.interval` and then tried again.
    """

    count: int
    balance: Balance = "failover"
    check: HealthCheck = field(default_factory=HealthCheck)
    checked: bool = False
    "True where health checks run, so that only they bring a service back."
    _states: list[_Backend] = field(init=False)
    _turn: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("a rule has at least one service")
        self._states = [_Backend() for _ in range(self.count)]

    def order(self, now: float) -> list[int]:
        """Return the services in the order in which one request should try them: those that are up first.

        Services that are down come last: if every one is down, trying is better than refusing.
        """
        start = 0
        if self.balance == "round-robin":
            start, self._turn = self._turn, (self._turn + 1) % self.count
        turn = [(start + step) % self.count for step in range(self.count)]
        return [index for index in turn if self.is_up(index, now)] + [
            index for index in turn if not self.is_up(index, now)
        ]

    def is_up(self, index: int, now: float) -> bool:
        """Say whether a service takes part."""
        state = self._states[index]
        return state.up or (not self.checked and now - state.down_since >= self.check.interval)

    def record(self, index: int, *, ok: bool, now: float) -> bool:
        """Note how a check or a connection went; True where the service just went down or came back."""
        state = self._states[index]
        state.streak = max(state.streak, 0) + 1 if ok else min(state.streak, 0) - 1
        was_up = state.up
        if not ok and (-state.streak >= self.check.unhealthy_after or not was_up):
            state.up, state.down_since = False, now
        elif ok and state.streak >= self.check.healthy_after:
            state.up = True
        return state.up != was_up


def may_send_again(method: str, *, sent: bool, body_begun: bool) -> bool:
    """Say whether a request that failed before any response may go to another connection or service.

    `sent`: some of it may have reached an origin. `body_begun`: body bytes were taken and cannot be had again.
    """
    return not body_begun and (not sent or method in IDEMPOTENT_METHODS)


def retry_delays(budget: float) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, until they add up to `budget`."""
    delay, spent = FIRST_RETRY_DELAY, 0.0
    while spent < budget:
        wait = min(delay, budget - spent)
        yield wait
        spent += wait
        delay = min(delay * 2, MAX_RETRY_DELAY)
