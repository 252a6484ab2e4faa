"""Lets one reader see the log of every process, whichever of them its request reached (main process)."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyconnector.connector.observe.log_taps import TAPS
from pyconnector.connector.workers.messages import LeaveLog, Listen, Listening, Overhear, Overheard, StopListening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from pyconnector.connector.workers.member import Member
    from pyconnector.connector.workers.roster import Roster


class LogExchange:
    """Who reads the log, of all workers: one at a time, as in one process."""

    def __init__(self, roster: Roster, connector_id: UUID) -> None:
        self._roster = roster
        self._connector_id = connector_id
        self._reader: tuple[int, Listen] | None = None
        self._own: _OwnLines | None = None

    def __repr__(self) -> str:
        return f"<LogExchange reader={self._reader}>"

    def told(self, number: int, message: Any) -> None:
        """Take what worker `number` says of the log; anything else is left alone."""
        if isinstance(message, Overheard):
            if self._reader is not None and number != self._reader[0]:
                self._to_reader(message)
        elif isinstance(message, Listen):
            self._begin(number, message)
        elif isinstance(message, StopListening) and self._is_reader(number, message.session):
            self._end()

    def joined(self, member: Member) -> None:
        """A worker has begun."""
        if self._reader is not None:
            member.tell(Overhear(self._reader[1].level, self._reader[1].kinds))

    def gone(self, number: int) -> None:
        """A worker ended, and with it its reader."""
        if self._reader is not None and self._reader[0] == number:
            self._end()

    def _begin(self, number: int, wanted: Listen) -> None:
        member = self._roster.members.get(number)
        if member is None:
            return
        if self._reader is not None:
            before, reader = self._reader
            if reader.actor != wanted.actor:
                member.tell(Listening(wanted.session, granted=False))
                return
            self._end()
            if (old := self._roster.members.get(before)) is not None:
                old.tell(LeaveLog(reader.session))
        self._reader = number, wanted
        member.tell(Listening(wanted.session, granted=True))
        for other, each in self._roster.members.items():
            if other != number:
                each.tell(Overhear(wanted.level, wanted.kinds))
        self._own = _OwnLines(self._connector_id, wanted, self._to_reader)
        TAPS.add(self._own)

    def _end(self) -> None:
        reader, self._reader = self._reader, None
        if self._own is not None:
            TAPS.remove(self._own)
            self._own = None
        for number, member in self._roster.members.items():
            if reader is not None and number != reader[0]:
                member.tell(Overhear(None))

    def _to_reader(self, line: Overheard) -> None:
        if self._reader is not None and (member := self._roster.members.get(self._reader[0])) is not None:
            if not member.is_clogged:
                member.tell(line)

    def _is_reader(self, number: int, session: int) -> bool:
        return self._reader is not None and (self._reader[0], self._reader[1].session) == (number, session)


class _OwnLines:
    """The lines of this process, as a `Tap`."""

    def __init__(self, connector_id: UUID, wanted: Listen, tell: Callable[[Overheard], None]) -> None:
        self.connector_id = connector_id
        self.level = wanted.level
        self._kinds = wanted.kinds
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def take(self, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """See `Tap`."""
        if self._kinds and kind not in self._kinds:
            return
        line = Overheard(time=datetime.now(UTC), level=level, message=message, values=dict(values), kind=kind)
        if threading.get_ident() == self._thread:
            self._tell(line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, line)
