"""Which engine `auto` stands for: qh3 where it is installed, then aioquic with BBR if the path loses packets.

qh3 takes a third of the CPU time for a byte, but its congestion control takes every loss for a full queue: 1 % of
random loss at a round trip of 30 ms leaves it an eighth of what BBR gets (docs/congestion.md).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from pyconnector.connector.link.paths.path_watch import PathWatch
from pyconnector.connector.observe.log import Log, fields
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic import engine_name, load_engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pyconnector.connector.link.paths.path_watch import Verdict
    from pyconnector.transport.seam import Connection
    from pyconnector.transport.settings import QuicSettings

#: Seconds between two looks at the connections.
LOOK_INTERVAL = 1.0
#: Congestion control that does not mind lone losses; only aioquic has it.
_BBR = ("auto", "bbr")


class EngineChoice:
    """The settings that connections are dialled with."""

    def __init__(self, settings: QuicSettings) -> None:
        self.settings = settings
        self._watch = PathWatch()
        self._log = Log("engine")

    def __repr__(self) -> str:
        return f"<EngineChoice {self.settings.engine}>"

    @property
    def is_open(self) -> bool:
        """Whether the path may still change the engine."""
        settings = self.settings
        return settings.engine == "auto" and settings.congestion_control in _BBR and engine_name("auto") == "qh3"

    async def follow(
        self, connections: Callable[[], Mapping[int, Connection]], renew: Callable[[int], Awaitable[bool]]
    ) -> None:
        """Watch `connections` and move them to aioquic where their path asks for it. Cancel at any time.

        `renew` replaces a connection that nobody uses, and says whether it did. One in use stays until it is idle.
        """
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            for index, connection in connections().items():
                self._watch.look(index, connection, connection.statistics(), clock())
            verdict = self._watch.verdict(clock())
            if verdict is not None:
                if not await self._take_aioquic(verdict):
                    return
                break
        while left := [index for index, each in connections().items() if each.statistics().engine == "qh3"]:
            for index in left:
                # One at a time: the others take its requests.
                await renew(index)
            await asyncio.sleep(LOOK_INTERVAL)

    async def _take_aioquic(self, verdict: Verdict) -> bool:
        figures = fields(loss=f"{verdict.loss:.2%}", rate=f"{verdict.rate / 1e6:.2f} MB/s")
        try:
            # In a thread: it takes a tenth of a second, in which requests go on.
            await asyncio.to_thread(load_engine, "aioquic")
        except (ConnectFailed, ImportError) as error:
            self._log.warning("The path to the edge loses packets, but aioquic cannot be used: %s", error, **figures)
            return False
        self.settings = replace(self.settings, engine="aioquic")
        self._log.info(
            "The path to the edge loses packets: connections change to the engine aioquic, whose congestion control "
            "copes with that, as soon as they are idle (--quic-engine settles it)",
            **figures,
        )
        return True
