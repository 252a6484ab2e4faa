"""Quick tunnels as a service: how many of whom, and their end. `control.api.routes.quick` answers with it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.control.pace import Pace
from pyconnector.control.store.errors import StoreError, StoreUnavailable
from pyconnector.control.store.objects import quick
from pyconnector.control.store.work import Actor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyconnector.control.store.database import Database
    from pyconnector.control.store.objects.first import Installation
    from pyconnector.control.store.work import Work

#: Quick tunnels that one address may ask for at once, and seconds after which it may ask for one more.
BURST, REFILL = 10, 30.0
#: Seconds between two looks for quick tunnels whose time is over.
EVERY = 30.0
#: Bytes of a certificate authority that is handed out.
MAX_AUTHORITY = 64 * 1024

_log = logging.getLogger("pyconnector.control")


class TooOften(Exception):
    """This address asked for too many quick tunnels lately."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for a quick tunnel."""

    address: str
    user_agent: str


class QuickService:
    """Hands out quick tunnels of one control plane, and deletes them from `start` to `close`."""

    def __init__(
        self,
        database: Database,
        installation: Installation,
        *,
        limit: int,
        authority: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._database = database
        self._installation = installation
        self._authority = authority
        self._clock = clock
        self._pace = Pace(burst=BURST, refill=REFILL)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for those whose time is over, now and from time to time."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="quick tunnel expiry")

    async def close(self) -> None:
        """Look no more. Idempotent. Cancel leaves a look ending."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def make(self, asker: Asker) -> quick.QuickTunnel:
        """Make one. Cancel undoes it.

        Raises:
            TooOften: that address asked for many.
            StoreError: there are too many, or nobody serves them.
            StoreUnavailable: the database cannot be used.
        """
        if not self._pace.take(asker.address, self._clock()):
            raise TooOften
        actor = Actor(
            account_id=self._installation.account_id, token_name="quick tunnel", ip_address=asker.address,
            method="POST", uri="/tunnel", user_agent=asker.user_agent[:500],
        )  # fmt: skip

        async def operation(work: Work) -> quick.QuickTunnel:
            return await quick.create(work, self._installation.zone_id, self.limit)

        return await self._database.write(actor, operation)

    async def authority(self) -> str:
        """Return the certificates that connectors of these edges have to trust; empty where they are not known."""

        def read() -> str:
            try:
                with self._authority.open("r", encoding="ascii") as file:
                    return file.read(MAX_AUTHORITY)
            except (OSError, UnicodeDecodeError):
                return ""

        return await asyncio.to_thread(read)

    async def _run(self) -> None:
        actor = Actor(account_id=self._installation.account_id, token_name="quick tunnel")
        while not self._stop.is_set():
            try:
                if over := await self._database.write(actor, quick.expire):
                    _log.info("Deleted %d quick tunnels: their connectors are gone", over)
            except (StoreError, StoreUnavailable) as error:
                _log.warning("Quick tunnels whose time is over stay for now: %s", error)
            try:
                async with asyncio.timeout(EVERY):
                    await self._stop.wait()
            except TimeoutError:
                continue
