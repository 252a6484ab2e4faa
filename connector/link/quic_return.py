"""Bring connections that fell back to HTTP/2 to QUIC again, once a handshake shows that it works (cloudflared#1534)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from pyconnector.connector.link.session import QUIC
from pyconnector.connector.observe.log import Log
from pyconnector.transport.errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pyconnector.connector.link.edge_connection import Plan
    from pyconnector.connector.link.paths.network_watch import NetworkWatch
    from pyconnector.connector.link.protocol_choice import ProtocolChoice
    from pyconnector.transport.seam import Connection

#: Seconds until the first look, and until those that follow at most. A changed network is a reason to look at once.
FIRST_LOOK, LONGEST_WAIT = 30.0, 600.0
#: Seconds between two rounds over the connections that are still in use.
ROUND = 1.0

_log = Log("protocol")


class QuicReturn:
    """Probes while any connection has fallen back, and moves them."""

    def __init__(
        self,
        choice: ProtocolChoice,
        *,
        dial: Callable[[Plan], Awaitable[Connection]],
        connections: Callable[[], Mapping[int, Connection]],
        renew: Callable[[int], Awaitable[bool]],
        network: NetworkWatch,
    ) -> None:
        """`renew` replaces a connection that nobody uses, and says whether it did."""
        self._choice = choice
        self._dial = dial
        self._connections = connections
        self._renew = renew
        self._network = network

    async def run(self) -> None:
        """Look for as long as the connector lives. Cancel at any time."""
        wait = FIRST_LOOK
        while True:
            await self._choice.wait_fallen()
            await self._pause(wait)
            fallen = self._choice.fallen
            # Doubled for a handshake that succeeds too: where registering fails all the same, this goes to and fro.
            wait = min(2 * wait, LONGEST_WAIT)
            if not fallen or not await self._works(next(iter(fallen.values()))):
                continue
            _log.info("QUIC reaches the edge again: connections over HTTP/2 return to it as soon as they are idle")
            self._choice.return_to_quic()
            await self._move()
            if not self._choice.fallen:
                wait = FIRST_LOOK

    async def _works(self, plan: Plan) -> bool:
        try:
            connection = await self._dial(replace(plan, local_port=0, protocol=QUIC))
        except ConnectFailed as error:
            _log.debug("QUIC still does not reach the edge: %s", error)
            return False
        connection.close(0, "precheck complete")
        return True

    async def _move(self) -> None:
        """Renew one after the other, for the others take its requests meanwhile; one in use once it is idle."""
        while left := [
            index
            for index, connection in self._connections().items()
            if connection.statistics().engine == "h2" and self._choice.protocol(index) == QUIC
        ]:
            for index in left:
                await self._renew(index)
            await asyncio.sleep(ROUND)

    async def _pause(self, seconds: float) -> None:
        changed = asyncio.Event()
        with self._network.subscribe(changed.set):
            try:
                async with asyncio.timeout(seconds):
                    await changed.wait()
            except TimeoutError:
                pass
