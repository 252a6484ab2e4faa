"""Access that a request must satisfy beside that of the rule that serves it.

Two reasons: a service may take its path for one that another rule guards (`ingress.rules.guarded_paths`), and the local
config may guard what a pushed configuration opens (`keep-local-access`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.connector.active.routes import Rejection, Route, Stage, StageFactory
    from pyconnector.ingress import Ingress, Match, Rule
    from pyconnector.origins.base import OriginRequest

#: Checks that are made before others have their turn: less than a millisecond of a slow machine.
GUARDS_PER_TURN = 64


@dataclass(frozen=True, slots=True)
class Guard:
    """The access check of a rule that does not serve the request itself."""

    stages: tuple[Stage, ...]
    rule: Rule
    why: str
    "For the log, of a request that is refused."

    async def admit(self, request: OriginRequest) -> Rejection | None:
        """Return None to let `request` pass, or the answer that refuses it. Cancel at any time."""
        for stage in self.stages:
            if (rejection := await stage.admit(request, self.rule)) is not None:
                return replace(rejection, reason=f"{rejection.reason} ({self.why})")
        return None


def guards_of(routes: Sequence[Route], match: Match) -> list[Guard]:
    """Return the checks of the rules that `match` names beside its own."""
    return [
        Guard(_access(routes[index].stages), routes[index].rule, f"the path may be taken for one of ingress[{index}]")
        for index in match.guards
    ]


class LocalAccess:
    """The access of the local config, which stays in force whatever rules the edge pushes."""

    def __init__(self, ingress: Ingress, guards: Sequence[Guard | None]) -> None:
        """`guards` has the check of each rule of `ingress`, or None for those that everybody may pass."""
        self._ingress = ingress
        self._guards = guards

    @classmethod
    async def of(cls, ingress: Ingress, factories: Sequence[StageFactory]) -> LocalAccess:
        """Make the checks of the rules of `ingress`, in small steps. Cancel at any time.

        Raises:
            StartFailed: one of them cannot be made.
        """
        guards = []
        for index, rule in enumerate(ingress.rules):
            if index % GUARDS_PER_TURN == GUARDS_PER_TURN - 1:
                await asyncio.sleep(0)
            guards.append(_local_guard(index, rule, factories))
        return cls(ingress, guards)

    def guards(self, host: str, path: str) -> list[Guard]:
        """Return the checks that the local rules demand of a request for `host` and the decoded `path`."""
        match = self._ingress.match(host, path)
        return [guard for index in (match.index, *match.guards) if (guard := self._guards[index]) is not None]


def _local_guard(index: int, rule: Rule, factories: Sequence[StageFactory]) -> Guard | None:
    access = rule.settings.access
    if access is None or not access.required:
        return None
    try:
        stages = _access([stage for factory in factories if (stage := factory(rule)) is not None])
    except ValueError as error:
        raise StartFailed(f"ingress[{index}]: {error}") from error
    if not stages:
        raise StartFailed(f"ingress[{index}]: access is required, but nothing here can verify it; not serving")
    return Guard(stages, rule, f"demanded by ingress[{index}] of the local config")


def _access(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if "access" in stage.enforces)
