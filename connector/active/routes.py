"""The rules in force with everything they need: one immutable set, swapped as a whole.

A request takes the current set once and keeps it to its end, so a new configuration never touches a request under
way. A `Stage` stands between the match and the origin and may refuse (identity, for one).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.background import in_background
from pyconnector.ingress.config.services import BastionService, SocksService, StreamService, redacted
from pyconnector.origins import build_origin
from pyconnector.origins.base import Headers, Origin, OriginError
from pyconnector.origins.pools import Pools
from pyconnector.origins.tcp.private import PrivateTcpOrigin

if TYPE_CHECKING:
    from pyconnector.connector.requests.guards import LocalAccess
    from pyconnector.ingress import Ingress, Rule, WarpRouting
    from pyconnector.origins import OriginResources
    from pyconnector.origins.base import OriginRequest

#: Rules that are opened or closed before others have their turn: about a millisecond of a slow machine.
ROUTES_PER_TURN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A stage's answer in place of the origin's."""

    status: int
    reason: str
    "For the log."
    headers: Headers = field(default_factory=list)
    body: bytes = b""


class Stage(Protocol):
    """Something that every request of one rule passes before it reaches the origin."""

    #: The originRequest keys that this stage enforces, such as "access".
    enforces: frozenset[str]

    async def admit(self, request: OriginRequest, rule: Rule) -> Rejection | None:
        """Return None to let `request` pass (it may be changed in place), or the answer that refuses it.

        Cancel at any time. Whatever it raises refuses the request too.
        """


#: Makes the stage of one rule, or None where the rule needs none.
StageFactory: TypeAlias = "Callable[[Rule], Stage | None]"


@dataclass(slots=True, eq=False)
class Route:
    """One rule, ready to serve."""

    rule: Rule
    origin: Origin
    stages: tuple[Stage, ...]
    is_stream: bool
    "Whether the service is a byte stream and not HTTP."
    index: int = 0
    "Its place among the rules."


class Routes:
    """Every rule of one configuration with its origin, and where private-network streams go."""

    def __init__(self, ingress: Ingress, warp_routing: WarpRouting, routes: tuple[Route, ...]) -> None:
        self.ingress = ingress
        self.warp_routing = warp_routing
        self.routes = routes
        self.private = PrivateTcpOrigin(warp_routing)
        self.local_access: LocalAccess | None = None
        "What the local config demands beside these rules, where they are not its own."

    def __repr__(self) -> str:
        return f"<Routes rules={len(self.routes)}>"

    @classmethod
    async def open(
        cls,
        ingress: Ingress,
        warp_routing: WarpRouting,
        *,
        resources: OriginResources,
        factories: Sequence[StageFactory],
    ) -> Routes:
        """Build and start the origins of every rule. Cancel closes what was started.

        Raises:
            StartFailed: one of them cannot serve. The text names its rule.
        """
        started: list[Route] = []
        try:
            if pools := Pools(ingress.rules):
                await in_background(functools.partial(pools.load, resources))
            for index, rule in enumerate(ingress.rules):
                if index % ROUTES_PER_TURN == ROUTES_PER_TURN - 1:
                    await asyncio.sleep(0)
                route = _route(index, rule, resources, factories)
                started.append(route)
                await route.origin.start()
        except OriginError as error:
            await _close(started)
            place = len(started) - 1  # of the rule whose origin did not start; none was begun where there are too many
            where = f"ingress[{place}] ({redacted(ingress.rules[place].service)}): " if started else ""
            raise StartFailed(f"{where}{error}") from error
        except BaseException:
            await _close(started)
            raise
        return cls(ingress, warp_routing, tuple(started))

    async def close(self) -> None:
        """Let go of the origins; requests under way go on to their end. Cancel leaves some open. Idempotent."""
        await _close(self.routes)
        await self.private.close()


def _route(index: int, rule: Rule, resources: OriginResources, factories: Sequence[StageFactory]) -> Route:
    try:
        stages = tuple(stage for factory in factories if (stage := factory(rule)) is not None)
    except ValueError as error:
        raise StartFailed(f"ingress[{index}]: {error}") from error
    access = rule.settings.access
    if access is not None and access.required and not any("access" in stage.enforces for stage in stages):
        # Serving without the check that the config asks for would leave the service open.
        raise StartFailed(f"ingress[{index}]: access is required, but nothing here can verify it; not serving")
    return Route(
        rule=rule,
        origin=build_origin(rule.service, rule.settings, resources=resources),
        stages=stages,
        is_stream=isinstance(rule.service, StreamService | BastionService | SocksService),
        index=index,
    )


async def _close(routes: Sequence[Route]) -> None:
    for index, route in enumerate(routes):
        if index % ROUTES_PER_TURN == ROUTES_PER_TURN - 1:
            await asyncio.sleep(0)
        await route.origin.close()
