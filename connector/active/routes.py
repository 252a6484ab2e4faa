"""The rules in force with everything they need: one immutable set, swapped as a whole.

A request takes the current set once and keeps it to its end, so a new configuration never touches a request under
way. What stands around a rule's service (identity, for one) is put there by `origins.layers.compose`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.background import in_background
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import Origin, OriginError
from pyconnector.origins.layers.compose import compose, origin_of
from pyconnector.origins.pools import Pools
from pyconnector.origins.tcp.private import PrivateTcpOrigin

if TYPE_CHECKING:
    from pyconnector.connector.requests.guards import LocalAccess
    from pyconnector.ingress import Ingress, Rule, WarpRouting
    from pyconnector.origins import OriginResources
    from pyconnector.origins.layers.base import Gate, Layer

#: Rules that are opened or closed before others have their turn: about a millisecond of a slow machine.
ROUTES_PER_TURN = 64


@dataclass(slots=True, eq=False)
class Route:
    """One rule, ready to serve."""

    rule: Rule
    origin: Origin
    "The rule's service with every layer around it."
    access: tuple[Gate, ...] = ()
    "Those of the layers that enforce access: they are asked for requests of other rules too."
    index: int = 0
    "Its place among the rules."


class Routes:
    """Every rule of one configuration with its origin, and where private-network streams go."""

    def __init__(
        self, ingress: Ingress, warp_routing: WarpRouting, routes: tuple[Route, ...], private: PrivateTcpOrigin
    ) -> None:
        self.ingress = ingress
        self.warp_routing = warp_routing
        self.routes = routes
        self.private = private
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
        layers: Sequence[Layer],
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
                route = _route(index, rule, resources, layers)
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
        return cls(ingress, warp_routing, tuple(started), PrivateTcpOrigin(warp_routing, resources.virtual_dns))

    async def close(self) -> None:
        """Let go of the origins; requests under way go on to their end. Cancel leaves some open. Idempotent."""
        await _close(self.routes)
        await self.private.close()


def _route(index: int, rule: Rule, resources: OriginResources, layers: Sequence[Layer]) -> Route:
    try:
        composed = compose(origin_of(rule, resources=resources), rule, layers)
    except ValueError as error:
        raise StartFailed(f"ingress[{index}]: {error}") from error
    return Route(rule=rule, origin=composed.origin, access=composed.access, index=index)


async def _close(routes: Sequence[Route]) -> None:
    for index, route in enumerate(routes):
        if index % ROUTES_PER_TURN == ROUTES_PER_TURN - 1:
            await asyncio.sleep(0)
        await route.origin.close()
