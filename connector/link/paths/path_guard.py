"""Leaves paths that are dead or have collapsed, before the transport gives them up (`paths.path_health`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.link.paths.path_health import PathHealth
from pyconnector.connector.observe.log import Log, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyconnector.connector.link.paths.path_health import Sick
    from pyconnector.transport.seam import Connection

#: Seconds between two looks.
LOOK_INTERVAL = 0.5
#: Seconds in which a connection is moved for a collapse once at most: another path may be no better.
MOVE_INTERVAL = 60.0
#: The engine of HTTP/2, whose own signs of life are rarer.
_HTTP2 = "h2"
DEAD = "its path is dead: nothing is heard any more, while other connections are"

_log = Log("path")


class PathGuard:
    """Watches the connections of one connector."""

    def __init__(
        self,
        *,
        connections: Callable[[], Mapping[int, Connection]],
        leave: Callable[[int, str], bool],
        move: Callable[[int], bool],
    ) -> None:
        """`leave` ends a connection at once, for a reason, and `move` lets its requests end first; both dial another
        address then, and say whether they do."""
        self._connections = connections
        self._leave = leave
        self._move = move
        self._health = PathHealth()
        self._moved: dict[int, float] = {}

    async def run(self) -> None:
        """Look for as long as the connector lives. Cancel at any time."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        """Look once."""
        figures = [(index, connection, connection.statistics()) for index, connection in self._connections().items()]
        for sick in self._health.look((each for each in figures if each[2].engine != _HTTP2), now):
            if sick.dead:
                self._give_up(sick)
            elif now - self._moved.get(sick.index, -MOVE_INTERVAL) >= MOVE_INTERVAL:
                self._moved[sick.index] = now
                self._change(sick)

    def _give_up(self, sick: Sick) -> None:
        if self._leave(sick.index, DEAD):
            _log.warning("A path to the edge is dead", **fields(connIndex=sick.index, **sick.evidence))

    def _change(self, sick: Sick) -> None:
        if self._move(sick.index):
            _log.warning(
                "A path to the edge has collapsed: its connection moves to another address",
                **fields(connIndex=sick.index, **sick.evidence),
            )
