"""How an edge hands over to the others of its mesh: nobody new comes, connectors go elsewhere, requests end.

The others learn of it before a connection ends, so that they ask this edge last; a tunnel that only this edge serves
keeps half of its connections until another edge has one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from pyconnector.edge.connectors.connection import EdgeConnection
    from pyconnector.edge.connectors.registry import Connectors

    class Visitors(Protocol):
        """Those of one listener."""

        @property
        def busy(self) -> int:
            """Those of whom something is under way."""

        def drain(self) -> None:
            """Accept no more of them."""


#: Seconds that requests have to end: less than those after which service managers kill.
GRACE = 25.0
#: Seconds in which every other edge reports, and learns with the answer that this one drains.
LEARN = 1.5
#: Seconds for which a tunnel's last connections wait for one elsewhere: connectors try again after a few.
MOVE = 10.0
#: Seconds between two looks at what is still there.
LOOK = 0.05

_log = logging.getLogger("pyconnector.edge")


class Drain:
    """One drain of an edge that has others beside it."""

    def __init__(
        self,
        connectors: Connectors,
        visitors: Sequence[Visitors],
        is_elsewhere: Callable[[UUID], bool],
        *,
        grace: float,
    ) -> None:
        """`is_elsewhere` says whether an edge that does not drain holds connections of a tunnel."""
        self._connectors = connectors
        self._visitors = visitors
        self._is_elsewhere = is_elsewhere
        self._ends = asyncio.get_running_loop().time() + grace

    async def run(self) -> None:
        """Hand over, and return once nothing is under way or the grace is over. Cancel leaves it half done."""
        for visitors in self._visitors:
            visitors.drain()
        await asyncio.sleep(min(LEARN, self._left()))
        by_tunnel: dict[UUID, list[EdgeConnection]] = {}
        for connection in self._connectors.all():
            if connection.tunnel is not None and connection.state == "registered":
                by_tunnel.setdefault(connection.tunnel.tunnel_id, []).append(connection)
        _log.info("Draining: %d tunnels go to other edges", len(by_tunnel))
        alone = {tunnel_id: held for tunnel_id, held in by_tunnel.items() if not self._is_elsewhere(tunnel_id)}
        first = [held for tunnel_id, held in by_tunnel.items() if tunnel_id not in alone]
        first += [held[: len(held) // 2] for held in alone.values()]
        await self._close(connection for held in first for connection in held)
        await self._until(lambda: all(map(self._is_elsewhere, alone)), MOVE)
        if alone:
            await asyncio.sleep(min(LEARN, self._left()))
        await self._close(self._connectors.all())
        if not await self._until(lambda: not self._busy(), self._left()):
            _log.warning("%d visitors are cut off: their time to end is over", self._busy())

    async def _close(self, connections: Iterable[EdgeConnection]) -> None:
        """Let no request begin on these, and close each once those under way have ended."""
        left = list(connections)
        for connection in left:
            connection.drain()

        def close_idle() -> bool:
            for connection in [each for each in left if not each.in_flight]:
                connection.close("the edge drains: connect to another one")
                left.remove(connection)
            return not left

        await self._until(close_idle, self._left())

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ends = min(loop.time() + seconds, self._ends)
        while not condition():
            if loop.time() >= ends:
                return False
            await asyncio.sleep(LOOK)
        return True

    def _busy(self) -> int:
        return sum(visitors.busy for visitors in self._visitors)

    def _left(self) -> float:
        return max(0.0, self._ends - asyncio.get_running_loop().time())
