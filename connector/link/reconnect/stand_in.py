"""Replaces the only connection that is registered, while one more takes its requests.

That one has an index of its own. Two connections of one index at a time the edge may refuse as duplicates, or it may
end the older one with all that is under way on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.api.events import Disconnected
from pyconnector.connector.link.edge_connection import Ended, EndKind, Plan
from pyconnector.connector.observe.log import Log, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.api.events import Event
    from pyconnector.connector.api.tracker import ConnectionTracker
    from pyconnector.connector.link.reconnect.slot import Attempt, Slot
    from pyconnector.connector.link.reconnect.supervisor import Reach

#: Least seconds between two tries: the connection serves meanwhile.
RETRY_SECONDS = 30.0
#: Longest `retryAfter` of the edge that is obeyed.
MAX_RETRY_AFTER_SECONDS = 3600.0

_log = Log("supervisor")


class Replacement:
    """Replaces connections of one supervisor, one at a time."""

    def __init__(
        self,
        spare_index: int,
        *,
        reach: Reach,
        make_attempt: Callable[[Plan], Attempt],
        tracker: ConnectionTracker,
        emit: Callable[[Event], None],
    ) -> None:
        """`spare_index` is used by no other connection of the connector, in whichever process."""
        self._index = spare_index
        self._reach = reach
        self._make_attempt = make_attempt
        self._tracker = tracker
        self._emit = emit
        self._stand_in: _StandIn | None = None
        self._not_before = 0.0

    async def replace(self, slot: Slot, grace_period: float) -> bool:
        """Replace the connection of `slot`, which is registered; requests on it have `grace_period` seconds.

        Return whether it was replaced. Cancel ends what stands in for it; its supervisor goes on with it.
        """
        now = asyncio.get_running_loop().time
        old = slot.attempt
        if old is None or self._stand_in is not None or now() < self._not_before:
            return False
        self._not_before = now() + RETRY_SECONDS
        book = self._reach.book
        address = book.take(self._index) or book.take(slot.index)
        if address is None:
            return False
        plan = Plan(index=self._index, address=address, protocol=self._reach.choice.protocol(slot.index))
        stand_in = self._stand_in = _StandIn(self._make_attempt(plan), self._tracker)
        try:
            ended = await stand_in.registered()
            if ended is not None:
                self._failed(slot, ended, now())
                return False
            if slot.attempt is old:
                slot.renewing = True
                await old.drain(grace_period)
            while stand_in.is_registered and (
                slot.attempt is old or slot.attempt is None or slot.attempt.details is None
            ):
                await self._tracker.wait_change()
            await stand_in.drain(grace_period)
            return True
        finally:
            self._stand_in = None
            book.give_back(self._index)
            await stand_in.end()
            self._emit(Disconnected(index=self._index, reason="it stood in for another", for_good=True))

    async def drain(self, grace_period: float) -> None:
        """Let what stands in for a connection end its requests within `grace_period` seconds. Cancel leaves it open."""
        if self._stand_in is not None:
            await self._stand_in.drain(grace_period)

    def _failed(self, slot: Slot, ended: Ended, now: float) -> None:
        if ended.kind is EndKind.DRAINED:
            return
        asked = min(ended.refusal.retry_after, MAX_RETRY_AFTER_SECONDS) if ended.refusal is not None else 0.0
        self._not_before = now + max(RETRY_SECONDS, asked)
        self._reach.choice.stay(slot.index)
        _log.info(
            "The connection stays as it is, for none could be made to stand in for it: %s", ended.reason,
            **fields(connIndex=slot.index),
        )  # fmt: skip


class _StandIn:
    def __init__(self, attempt: Attempt, tracker: ConnectionTracker) -> None:
        self._attempt = attempt
        self._tracker = tracker
        self._running: asyncio.Task[Ended] = asyncio.ensure_future(attempt.run())
        self._running.add_done_callback(lambda _: tracker.wake())

    @property
    def is_registered(self) -> bool:
        return self._attempt.details is not None and not self._running.done()

    async def registered(self) -> Ended | None:
        """Wait until it takes requests; return how it ended where it does not."""
        while self._attempt.details is None and not self._running.done():
            await self._tracker.wait_change()
        if self._running.cancelled():
            return Ended(kind=EndKind.DRAINED, reason="the connector ends")
        return self._running.result() if self._running.done() else None

    async def drain(self, grace_period: float) -> None:
        if self.is_registered:
            await self._attempt.drain(grace_period)
        else:
            self._running.cancel()
        await asyncio.wait((self._running,))

    async def end(self) -> None:
        self._running.cancel()
        await asyncio.wait((self._running,))
