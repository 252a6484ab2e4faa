"""Keeps several edge connections up: order of start, waits between attempts, address rotation, drain
(reference/lifecycle.md 5).

Connection 0 starts alone, because a wrong credential or an unreachable edge shows on one connection as well as on four.
The others follow one after the other once it registered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyconnector.connector.api.events import Disconnected, Reconnecting, Refused
from pyconnector.connector.link.edge_connection import Ended, EndKind, Plan
from pyconnector.connector.link.reconnect.slot import Slot
from pyconnector.connector.link.reconnect.stand_in import Replacement
from pyconnector.connector.link.session import QUIC
from pyconnector.connector.observe.log import Log, fields
from pyconnector.ingress.config.durations import format_duration

if TYPE_CHECKING:
    from pyconnector.connector.api.events import Event
    from pyconnector.connector.api.tracker import ConnectionTracker
    from pyconnector.connector.discovery.address_book import AddressBook
    from pyconnector.connector.link.protocol_choice import ProtocolChoice
    from pyconnector.connector.link.reconnect.backoff import Backoff
    from pyconnector.connector.link.reconnect.slot import Attempt
    from pyconnector.transport.seam import Connection

#: Longest time that a connection waits for the one before it to register.
STAGGER_SECONDS = 1.0
#: Wait after a refusal that the edge called permanent: only a person can change that, so asking often is no use.
PERMANENT_REFUSAL_SECONDS = 300.0
#: Longest wait after this machine said that there is no way to the edge: asking costs nothing, and nobody is bothered.
NO_ROUTE_SECONDS = 3.0
#: Seconds after which a failure that goes on is logged again, and how many different ones are remembered.
REPEAT_SECONDS = 60.0
MAX_TOLD = 64
#: Longest `retryAfter` of the edge that is obeyed.
MAX_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Where connections are dialled, and over which protocol."""

    book: AddressBook
    choice: ProtocolChoice


class Supervisor:
    """Runs the connections of `indices` until it is drained or cancelled."""

    def __init__(
        self,
        *,
        indices: range,
        reach: Reach,
        make_attempt: Callable[[Plan], Attempt],
        make_backoff: Callable[[], Backoff],
        tracker: ConnectionTracker,
        emit: Callable[[Event], None],
    ) -> None:
        self._book = reach.book
        self._make_attempt = make_attempt
        self._tracker = tracker
        self._emit = emit
        self._choice = reach.choice
        self._slots = [Slot(index, make_backoff()) for index in indices]
        self._replacement = Replacement(
            indices.start + len(indices) * indices.step,
            reach=reach,
            make_attempt=make_attempt,
            tracker=tracker,
            emit=emit,
        )
        self._draining = asyncio.Event()
        self._told: dict[tuple[int, bool, str], float] = {}
        "Failures that were logged, with when."
        self._log = Log("supervisor")

    def __repr__(self) -> str:
        return (
            f"<Supervisor connections={self._tracker.connected}/{len(self._slots)} draining={self._draining.is_set()}>"
        )

    async def run(self) -> None:
        """Keep the connections up; return once drained. Cancel closes them all at once."""
        async with asyncio.TaskGroup() as group:
            for place, slot in enumerate(self._slots):
                if place and not await self._turn_of(place):
                    return
                slot.task = group.create_task(self._keep(slot), name=f"connection {slot.index}")

    async def drain(self, grace_period: float) -> None:
        """Stop connecting, unregister every connection, and wait until they are idle, at most `grace_period` seconds.

        Cancel leaves connections open; cancel `run` to close them.
        """
        self._draining.set()
        self._tracker.wake()
        for slot in self._slots:
            if slot.task is not None and (slot.attempt is None or slot.attempt.details is None):
                slot.task.cancel()  # nothing is served on it
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                if slot.attempt is not None and slot.attempt.details is not None:
                    group.create_task(slot.attempt.drain(grace_period), name=f"drain {slot.index}")
            group.create_task(self._replacement.drain(grace_period), name="drain stand-in")
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def renew(self, index: int, grace_period: float) -> bool:
        """Replace connection `index` by a new one, dialled anew, if it serves nothing.

        Where no other is registered, one more is made first, which takes its requests until it is back. Requests that
        still arrive while it unregisters have `grace_period` seconds. Return whether it was replaced.
        Cancel leaves it drained in part; the supervisor goes on with it.
        """
        slot = next(slot for slot in self._slots if slot.index == index)
        attempt = slot.attempt
        if attempt is None or attempt.details is None or attempt.active_streams:
            return False
        if self._draining.is_set() or slot.renewing:
            return False
        if self._tracker.connected <= 1:
            return await self._replacement.replace(slot, grace_period)
        slot.renewing = True
        await attempt.drain(grace_period)
        return True

    def leave(self, index: int, reason: str) -> bool:
        """End connection `index` at once because of its path, and dial another address; False where there is none.

        Requests on it are lost, as they would be a little later.
        """
        slot, attempt = self._registered(index)
        if slot is None or attempt is None or slot.left or self._tracker.connected <= 1:
            return False
        slot.left = reason
        attempt.break_off()
        return True

    def move(self, index: int, grace_period: float) -> bool:
        """Replace connection `index` by one to another address, once its requests ended or `grace_period` seconds went.

        False where it is not registered, or where the others could not take its place.
        """
        slot, attempt = self._registered(index)
        if slot is None or attempt is None or slot.renewing or self._tracker.connected <= 1 or self._draining.is_set():
            return False
        slot.renewing = True
        self._book.rotate(index, now=asyncio.get_running_loop().time(), unreachable=False)
        slot.moving = asyncio.ensure_future(attempt.drain(grace_period))
        return True

    def _registered(self, index: int) -> tuple[Slot | None, Attempt | None]:
        for slot in self._slots:
            if slot.index == index and slot.attempt is not None and slot.attempt.details is not None:
                return slot, slot.attempt
        return None, None

    def reconnect(self, delay: float) -> bool:
        """Break a registered connection off, and make it again after `delay` seconds at least; False without one.

        Requests on it are lost, as they are with a connection that fails.
        """
        for slot in self._slots:
            if slot.attempt is not None and slot.attempt.details is not None and slot.pause is None:
                self._log.info(
                    "Restarting connection due to reconnect signal in %s", format_duration(delay),
                    **fields(connIndex=slot.index),
                )  # fmt: skip
                slot.pause = delay
                slot.attempt.break_off()
                return True
        return False

    def network_changed(self) -> None:
        """Addresses or routes of this machine changed: who waits to connect tries at once."""
        self._wake(self._slots)

    def _wake(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot.waiting is not None:
                slot.waiting.set()

    async def push_local_configuration(self) -> None:
        """Tell the edge the rules in force, through connection 0 where it is among these. Cancel at any time."""
        attempt = self._slots[0].attempt if self._slots else None
        if attempt is not None:
            await attempt.push_local_configuration()

    def connections(self) -> dict[int, Connection]:
        """The transport connections there are, by index."""
        return {
            slot.index: slot.attempt.connection
            for slot in self._slots
            if slot.attempt is not None and slot.attempt.connection is not None
        }

    async def _turn_of(self, place: int) -> bool:
        """Wait until the connection at `place` may start; False where draining came first."""
        if place == 1:
            while not self._tracker.connected and not self._draining.is_set():
                await self._tracker.wait_change()
        else:
            before = self._slots[place - 1]
            try:
                async with asyncio.timeout(STAGGER_SECONDS):
                    while before.attempt is None or before.attempt.details is None:
                        if self._draining.is_set():
                            break
                        await self._tracker.wait_change()
            except TimeoutError:
                pass  # it has its own troubles; this one may fare better
        return not self._draining.is_set()

    async def _keep(self, slot: Slot) -> None:
        try:
            await self._attempts(slot)
        except asyncio.CancelledError:
            self._emit(Disconnected(index=slot.index, reason="the connector stops"))
            raise

    async def _attempts(self, slot: Slot) -> None:
        while not self._draining.is_set():
            address = self._book.take(slot.index)
            if address is None:
                self._log.error("No edge address is left for this connection", **fields(connIndex=slot.index))
                return
            plan = Plan(
                index=slot.index, address=address, local_port=slot.port, previous_attempts=slot.backoff.failures,
                protocol=self._choice.protocol(slot.index),
            )  # fmt: skip
            attempt = slot.attempt = self._make_attempt(plan)
            watching = asyncio.ensure_future(self._wake_others(slot, attempt, plan))
            try:
                ended = await attempt.run()
            finally:
                watching.cancel()
                if attempt.connection is not None and plan.protocol == QUIC:
                    slot.port = attempt.connection.local_address[1]
                slot.attempt = None
            if slot.left and ended.kind is EndKind.LOST:
                ended = replace(ended, reason=slot.left, idle=True)
            slot.left = ""
            if slot.moving is not None:
                slot.moving.cancel()
                slot.moving = None
            if attempt.details is not None:
                slot.backoff.reset()
                self._told.clear()
            else:
                self._choice.failed(plan, ended)
            self._emit(Disconnected(index=slot.index, reason=ended.reason))
            renewing, slot.renewing = slot.renewing, False
            if self._draining.is_set():
                return
            if ended.kind is EndKind.DRAINED:
                if not renewing:
                    return
                continue
            await self._wait(slot, plan, ended)

    async def _wake_others(self, slot: Slot, attempt: Attempt, plan: Plan) -> None:
        """Once `attempt` has registered, the edge can be reached: whoever waits for that need not wait longer."""
        while attempt.details is None:
            await self._tracker.wait_change()
        self._choice.registered(plan)
        self._wake(each for each in self._slots if each is not slot)

    async def _wait(self, slot: Slot, plan: Plan, ended: Ended) -> None:
        delay = self._after(slot, ended)
        level = logging.WARNING if self._tracker.connected else logging.ERROR
        text = sentence(ended)
        self._log.log(
            level if self._is_news(slot, ended, text) else logging.DEBUG,
            "%s", text,
            **fields(connIndex=slot.index, ip=plan.address[0], port=plan.address[1], retryIn=_shown(delay)),
        )  # fmt: skip
        if ended.refusal is not None:
            permanent = not ended.refusal.should_retry and not ended.refusal.duplicate
            self._emit(Refused(index=slot.index, cause=ended.refusal.cause, permanent=permanent))
        self._emit(Reconnecting(index=slot.index, delay=delay))
        slot.waiting = asyncio.Event() if ended.refusal is None and slot.pause is None else None
        slot.pause = None
        ends = [asyncio.ensure_future(self._draining.wait())]
        if slot.waiting is not None:
            ends.append(asyncio.ensure_future(slot.waiting.wait()))
        try:
            await asyncio.wait(ends, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        finally:
            slot.waiting = None
            for end in ends:
                end.cancel()

    def _is_news(self, slot: Slot, ended: Ended, text: str) -> bool:
        """Whether a failure is to be told, because it was not told within the last minute.

        Each connection that is lost is told; what keeps them from coming back is the same for all of them.
        """
        now = asyncio.get_running_loop().time()
        key = (slot.index if ended.kind is EndKind.LOST else -1, bool(self._tracker.connected), text)
        told = self._told.get(key)
        if told is not None and now - told < REPEAT_SECONDS:
            return False
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[key] = now
        return True

    def _after(self, slot: Slot, ended: Ended) -> float:
        """Choose the address of the next attempt, and return how long to wait for it."""
        refusal = ended.refusal
        if ended.kind is EndKind.UNREACHABLE or ended.idle or (refusal is not None and refusal.duplicate):
            self._book.rotate(slot.index, now=asyncio.get_running_loop().time())
        delay = slot.backoff.next_delay() + (slot.pause or 0.0)
        if ended.no_route:
            return min(delay, NO_ROUTE_SECONDS)
        if refusal is None or refusal.duplicate:
            return delay
        least = refusal.retry_after if refusal.should_retry else max(PERMANENT_REFUSAL_SECONDS, refusal.retry_after)
        return min(max(delay, least), MAX_RETRY_AFTER_SECONDS)


def _shown(delay: float) -> str:
    """A wait as a log line shows it: never as none, which it is not."""
    return format_duration(max(round(delay, 1), 0.1))


def sentence(ended: Ended) -> str:
    """Say in one sentence how an attempt ended, with what to do about it where that is known."""
    if ended.kind is EndKind.UNREACHABLE:
        if ended.untrusted:
            return f"The edge's certificate is not trusted: {ended.reason}"
        return f"Cannot connect to the edge: {ended.reason}"
    if ended.refusal is not None:
        cause = ended.refusal.cause or "it gave no reason"
        if ended.refusal.should_retry or ended.refusal.duplicate:
            return f"The edge refused the registration: {cause}"
        return f"The edge rejected the registration permanently: {cause}; check the credentials"
    if ended.kind is EndKind.UNREGISTERED:
        return f"Registration failed: {ended.reason}"
    return f"Lost the connection to the edge: {ended.reason}"
