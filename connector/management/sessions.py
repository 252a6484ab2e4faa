"""Who streams the log of this process: one at a time, for each line costs all that is carried a little."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pyconnector.connector.management.messages import Filters, line_message
from pyconnector.connector.observe.log_taps import TAPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID


class Elsewhere(Protocol):
    """The other processes of a connector."""

    @property
    def worker(self) -> int:
        """The number of this one."""

    async def listen(self, session: LogSession) -> bool:
        """Give `session` their lines too, by `overheard`; False where another person reads in one of them."""

    def end(self, session: LogSession) -> None:
        """Give it none any more. Idempotent."""


#: Lines that wait for a reader; what comes while so many do is dropped.
WINDOW = 30


class LogSession:
    """One reader of the log. `begin` and `end` are called from the event loop, lines come from any thread."""

    def __init__(
        self,
        actor: str,
        connector_id: UUID,
        *,
        random: Callable[[], float],
        disconnect: Callable[[], None],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`random` gives numbers in [0, 1); `disconnect` is called where the same actor begins another session."""
        self.actor = actor
        self.connector_id = connector_id
        self.disconnect = disconnect
        self.dropped = 0
        self._random = random
        self._elsewhere = elsewhere
        self._filters = Filters()
        self._lines: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def __repr__(self) -> str:
        return f"<LogSession waiting={len(self._lines)} dropped={self.dropped} streaming={self in _streaming}>"

    @property
    def level(self) -> int:
        """The least level that is wanted."""
        return self._filters.level

    @property
    def kinds(self) -> frozenset[str]:
        """Of lines that are wanted; empty for all."""
        return self._filters.kinds

    def begin(self, filters: Filters) -> bool:
        """Take lines from now on; False where somebody else does."""
        for other in tuple(_streaming):
            if other is not self and other.actor != self.actor:
                return False
        for other in tuple(_streaming):
            other.end()
            if other is not self:
                other.disconnect()
        self._filters = filters
        _streaming.append(self)
        TAPS.add(self)
        return True

    async def begin_elsewhere(self) -> bool:
        """Take the lines of other processes too; False where another person does. Cancel at any time; `end` ends it."""
        return self._elsewhere is None or await self._elsewhere.listen(self)

    def end(self) -> None:
        """Take no more. Idempotent."""
        if self._elsewhere is not None:
            self._elsewhere.end(self)
        if self in _streaming:
            _streaming.remove(self)
        TAPS.remove(self)
        self._lines.clear()

    def take(self, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """See `Tap`."""
        if self._elsewhere is not None:
            values = {**values, "worker": self._elsewhere.worker}
        self.overheard(datetime.now(UTC), level, message, values, kind)

    def overheard(self, time: datetime, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """Take one line, of this process or another; from any thread."""
        filters = self._filters
        if filters.kinds and kind not in filters.kinds:
            return
        if filters.share < 1 and self._random() >= filters.share:
            return
        if len(self._lines) >= WINDOW:
            self.dropped += 1
            return
        self._lines.append(line_message(time.strftime("%Y-%m-%dT%H:%M:%SZ"), level, message, values, kind))
        if len(self._lines) == 1 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def next_line(self) -> bytes:
        """Return the oldest line, once there is one. Cancel at any time."""
        while not self._lines:
            self._arrived.clear()
            if not self._lines:
                await self._arrived.wait()
        return self._lines.popleft()


#: Of this process.
_streaming: list[LogSession] = []
