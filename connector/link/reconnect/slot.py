"""One connection index of a connector through all its attempts: what its supervisor remembers of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from pyconnector.connector.link.edge_connection import Ended
    from pyconnector.connector.link.reconnect.backoff import Backoff
    from pyconnector.protocol.rpc.registration import ConnectionDetails
    from pyconnector.transport.seam import Connection


class Attempt(Protocol):
    """What the supervisor needs of an `EdgeConnection`."""

    details: ConnectionDetails | None

    @property
    def connection(self) -> Connection | None:
        """The transport's connection, once there is one."""

    @property
    def active_streams(self) -> int:
        """How many streams are being served."""

    async def run(self) -> Ended:
        """Connect and serve until the connection ends. Cancel closes it."""

    async def drain(self, grace_period: float) -> None:
        """Unregister and let requests end. Cancel leaves it open."""

    def break_off(self) -> None:
        """End the connection at once, as if it had been lost."""

    async def push_local_configuration(self) -> None:
        """Tell the edge the rules in force. Cancel at any time."""


@dataclass(slots=True)
class Slot:
    """One connection index through all its attempts."""

    index: int
    backoff: Backoff
    attempt: Attempt | None = None
    task: asyncio.Task[None] | None = None
    port: int = 0
    waiting: asyncio.Event | None = None
    "Ends its wait for the next attempt, unless the edge asked for that wait."
    renewing: bool = False
    "Its attempt was drained to make room for another."
    left: str = ""
    "Why its connection was ended from here, where another address is to be dialled."
    moving: asyncio.Task[None] | None = None
    pause: float | None = None
    "Its connection was broken off on purpose: the least seconds until the next."
