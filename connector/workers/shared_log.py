"""The log of all processes, for whoever reads it in this one; and this one's, for readers in others (worker)."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyconnector.connector.observe.log_taps import TAPS
from pyconnector.connector.workers.messages import LeaveLog, Listen, Listening, Overhear, Overheard, StopListening

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from pyconnector.connector.management.sessions import LogSession
    from pyconnector.connector.workers.link import Link


class SharedLog:
    """What one worker hears and tells of the log. Made by `connector.workers.process`; see `sessions.Elsewhere`."""

    def __init__(self, link: Link, number: int, connector_id: UUID) -> None:
        self.worker = number
        self._link = link
        self._connector_id = connector_id
        self._numbers = itertools.count()
        self._reading: tuple[int, LogSession, asyncio.Future[bool]] | None = None
        self._tap: _Relay | None = None

    def __repr__(self) -> str:
        return f"<SharedLog worker={self.worker} reading={self._reading is not None} overheard={self._tap is not None}>"

    async def listen(self, session: LogSession) -> bool:
        """Give `session` the lines of the other processes too; False where another person reads in one of them.

        Cancel drops the answer; `end` is called all the same.
        """
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._reading = number, session, granted
        self._link.tell(Listen(number, session.actor, session.level, session.kinds))
        return await granted

    def end(self, session: LogSession) -> None:
        """It reads no more. Idempotent."""
        if self._reading is not None and self._reading[1] is session:
            self._link.tell(StopListening(self._reading[0]))
            self._reading[2].cancel()
            self._reading = None

    def told(self, message: Any) -> None:
        """Take what the main process says of the log; anything else is left alone."""
        if isinstance(message, Overhear):
            self._overhear(message)
        elif self._reading is None:
            pass  # it has just ended
        elif isinstance(message, Overheard):
            self._reading[1].overheard(message.time, message.level, message.message, message.values, message.kind)
        elif isinstance(message, Listening) and message.session == self._reading[0]:
            if not self._reading[2].done():
                self._reading[2].set_result(message.granted)
        elif isinstance(message, LeaveLog) and message.session == self._reading[0]:
            session = self._reading[1]
            session.end()
            session.disconnect()

    def _overhear(self, wanted: Overhear) -> None:
        if self._tap is not None:
            TAPS.remove(self._tap)
            self._tap = None
        if wanted.level is not None:
            self._tap = _Relay(self._link, self.worker, self._connector_id, wanted)
            TAPS.add(self._tap)


class _Relay:
    """The lines of this process, as a `Tap`. They are dropped where the main process does not keep up."""

    def __init__(self, link: Link, worker: int, connector_id: UUID, wanted: Overhear) -> None:
        assert wanted.level is not None
        self.connector_id = connector_id
        self.level = wanted.level
        self._link = link
        self._worker = worker
        self._kinds = wanted.kinds
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def take(self, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """See `Tap`."""
        if self._kinds and kind not in self._kinds:
            return
        values = {**values, "worker": self._worker}
        line = Overheard(time=datetime.now(UTC), level=level, message=message, values=values, kind=kind)
        if threading.get_ident() == self._thread:
            self._send(line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send, line)

    def _send(self, line: Overheard) -> None:
        if not self._link.is_clogged:
            self._link.tell(line)
