"""Rotates the signing keys of Access when they are due, whichever control plane of a database looks first."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pyconnector.control.store.access import keys
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.work import Actor

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database

#: Seconds between two looks.
EVERY = 3600.0

_log = logging.getLogger("pyconnector.control")


class KeyRotation:
    """Looks from `start` to `close`."""

    def __init__(self, database: Database, account_id: str) -> None:
        self._database = database
        self._actor = Actor(account_id=account_id)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look now, and every hour."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="access key rotation")

    async def close(self) -> None:
        """Look no more. Idempotent. Cancel leaves a rotation ending."""
        # Told and not cancelled: a rotation that began is whole.
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if await self._database.write(self._actor, keys.rotate_if_due):
                    _log.info("Rotated the signing keys of Access: they were due")
            except StoreUnavailable as error:
                _log.warning("Whether the signing keys of Access are due is not known: %s", error)
            try:
                async with asyncio.timeout(EVERY):
                    await self._stop.wait()
            except TimeoutError:
                continue
