"""Access that a request must satisfy beside that of the rule that serves it.

Two reasons: a service may take its path for one that another rule guards (`ingress.rules.guarded_paths`), and the local
config may guard what a pushed configuration opens (`keep-local-access`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pyconnector.connector.api.errors import StartFailed
from pyconnector.origins.layers.base import Rejection
from pyconnector.origins.layers.compose import access_gates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.ingress import Ingress, Match, Rule
    from pyconnector.origins.base import OriginRequest
    from pyconnector.origins.layers.base import Gate, Layer

#: Checks that are made before others have their turn: less than a millisecond of a slow machine.
GUARDS_PER_TURN = 64


class Guarded(Protocol):
    """A rule with its gates, as `connector.active.routes.Route`."""

    @property
    def access(self) -> tuple[Gate, ...]:
        """Those that enforce access."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The access check of a rule that does not serve the request itself."""

    gates: tuple[Gate, ...]
    why: str
    "For the log, of a request that is refused."

    async def admit(self, request: OriginRequest) -> None:
        """Return to let `request` pass. Cancel at any time.

        Raises:
            Rejection: the answer that refuses it.
        """
        for gate in self.gates:
            try:
                await gate.admit(request)
            except Rejection as rejection:
                raise replace(rejection, reason=f"{rejection.reason} ({self.why})") from rejection


def guards_of(routes: Sequence[Guarded], match: Match) -> list[Guard]:
    """Return the checks of the rules that `match` names beside its own."""
    return [Guard(routes[index].access, f"the path may be taken for one of ingress[{index}]") for index in match.guards]


class LocalAccess:
    """The access of the local config, which stays in force whatever rules the edge pushes."""

    def __init__(self, ingress: Ingress, guards: Sequence[Guard | None]) -> None:
        """`guards` has the check of each rule of `ingress`, or None for those that everybody may pass."""
        self._ingress = ingress
        self._guards = guards

    @classmethod
    async def of(cls, ingress: Ingress, layers: Sequence[Layer]) -> LocalAccess:
        """Make the checks of the rules of `ingress`, in small steps. Cancel at any time.

        Raises:
            StartFailed: one of them cannot be made.
        """
        guards = []
        for index, rule in enumerate(ingress.rules):
            if index % GUARDS_PER_TURN == GUARDS_PER_TURN - 1:
                await asyncio.sleep(0)
            guards.append(_local_guard(index, rule, layers))
        return cls(ingress, guards)

    def guards(self, host: str, path: str) -> list[Guard]:
        """Return the checks that the local rules demand of a request for `host` and the decoded `path`.

        Of a rule with an `identity` its access is kept, for everybody: a pushed rule says who is led where.
        """
        match = self._ingress.match(host, path, _fits_all)
        return [guard for index in (match.index, *match.guards) if (guard := self._guards[index]) is not None]


def _fits_all(_rule: Rule) -> bool:
    return True


def _local_guard(index: int, rule: Rule, layers: Sequence[Layer]) -> Guard | None:
    try:
        gates = access_gates(replace(rule, identity=()), layers)
    except ValueError as error:
        raise StartFailed(f"ingress[{index}]: {error}") from error
    return Guard(gates, f"demanded by ingress[{index}] of the local config") if gates else None
