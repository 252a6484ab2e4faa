"""One connector in several processes: starts workers, restarts those that die, reloads and drains them together.

The main process carries no traffic. It holds what there is once: the signals, the configuration, the log, the metrics
and ready pages, the pid file. `Fleet` has the life of a `Connector` (`start`, `reload`, `drain`, `stop`,
`wait_closed`), so the command line runs either.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyconnector.connector.api.errors import ConnectorError, ReloadRejected, StartFailed
from pyconnector.connector.api.events import Disconnected, Registered
from pyconnector.connector.api.tracker import ConnectionTracker
from pyconnector.connector.config.model import changed_connections
from pyconnector.connector.observe.log import Log, fields
from pyconnector.connector.observe.server.metrics_server import MetricsServer
from pyconnector.connector.tasks import TaskOwner
from pyconnector.connector.workers.link import LinkLost
from pyconnector.connector.workers.log_exchange import LogExchange
from pyconnector.connector.workers.log_relay import write_relayed
from pyconnector.connector.workers.member import Member, how_it_ended
from pyconnector.connector.workers.messages import Drain, Happened, Logged, Reload, ShowMetrics, Start, Stop, TakePushed
from pyconnector.connector.workers.pages import FleetPages
from pyconnector.connector.workers.roster import Roster
from pyconnector.ingress.config.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.api.events import ConnectionInfo, Event
    from pyconnector.connector.config.model import ConnectorConfig

#: Seconds before a worker that died is started again: the first time, and at most, after doubling each time.
FIRST_RESTART_SECONDS, LONGEST_RESTART_SECONDS = 0.5, 60.0
#: A worker that lived so long has not failed at its start: the next wait is the first again.
HEALTHY_SECONDS = 60.0
#: Seconds that workers have beyond the grace period, or when told to stop, before they are killed.
END_SECONDS = 5.0
#: Seconds that the others have to put a pushed configuration in force before the edge is answered.
SHARING_SECONDS = 2.0


class Fleet:
    """`config.workers` processes that are one connector. `on_event` is told what happens in any of them."""

    def __init__(self, config: ConnectorConfig, *, on_event: Callable[[Event], None] | None = None) -> None:
        self.config = config
        self.connector_id = uuid.uuid4()
        self.tracker = ConnectionTracker()
        self._on_event = on_event
        self._roster = Roster()
        self._pages = FleetPages(self, self._roster)
        self._logs = LogExchange(self._roster, self.connector_id)
        self.metrics_server = MetricsServer(self._pages.pages)
        self._pushed: tuple[int, bytes] | None = None
        self._tasks = TaskOwner(self._failed)
        self._keeping: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._failure: ConnectorError | None = None
        self._log = Log("workers")

    def __repr__(self) -> str:
        running = len(self._roster.members)
        return f"<Fleet {self.connector_id} workers={running}/{self.config.workers} connected={self.tracker.connected}>"

    @property
    def pids(self) -> dict[int, int]:
        """The process ids of the workers that run, by number."""
        return {number: member.pid for number, member in self._roster.members.items()}

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """Every connection of every worker, as it is now."""
        return tuple(info for _, info in sorted(self.tracker.connections.items()))

    async def start(self, *, wait_for_edge: bool = False) -> None:
        """Start the workers; the first alone connects until it has registered, as the first connection does.

        Workers wait for the edge whatever `wait_for_edge` says. Cancel stops what was started.

        Raises:
            StartFailed: the first cannot serve, or the metrics address cannot be used.
        """
        try:
            if self.config.metrics is not None:
                await self.metrics_server.start(self.config.metrics)
            # All processes at once, for loading takes them long; only the first one is told to begin.
            members = await asyncio.gather(*[self._spawn(number) for number in range(self.config.workers)])
            await self._begin(members[0])
        except LinkLost as error:
            await self.stop()
            raise StartFailed(f"a worker cannot be started: {error}") from error
        except BaseException:
            await self.stop()
            raise
        self._keeping = [self._tasks.spawn(self._keep(each), name=f"worker {each.number}") for each in members]

    async def wait_closed(self) -> None:
        """Wait until all workers ended for good. Cancel at any time.

        Raises:
            ConnectorError: a defect ended them.
        """
        if self._keeping:
            await asyncio.wait(self._keeping)
        if self._failure is not None:
            raise self._failure

    async def drain(self, grace_period: float | None = None) -> None:
        """Let every worker unregister and end its requests, and wait until all processes ended.

        Those that have not some seconds after the grace period are killed. Cancel leaves them draining; see `stop`.
        """
        grace = self.config.lifecycle.grace_period if grace_period is None else grace_period
        await self._end(Drain(), grace + END_SECONDS)

    async def stop(self) -> None:
        """End every worker at once. Idempotent. Cancel leaves some dying."""
        await self._end(Stop(), END_SECONDS)
        await self._tasks.cancel_all()
        await self.metrics_server.close()

    async def reload(self, config: ConnectorConfig) -> None:
        """Put the rules of `config` in force in every worker, and in those that are started later. Cancel leaves it
        unknown which have them.

        Raises:
            ReloadRejected: a worker cannot use them; it keeps the old ones.
        """
        for name in changed_connections(self.config, config):
            self._log.warning("A change of %s takes effect after a restart", name)
        self.config = replace(self.config, ingress=config.ingress, warp_routing=config.warp_routing)
        members = tuple(self._roster.members.values())
        answers = await asyncio.gather(*[self._reload(member) for member in members])
        errors = dict.fromkeys(answer for answer in answers if answer)
        if errors:
            raise ReloadRejected("; ".join(errors))

    # -- one worker ------------------------------------------------------------------------------------------------

    async def _spawn(self, number: int) -> Member:
        async def answer(question: Any) -> object:
            if isinstance(question, ShowMetrics):
                return await self._pages.figures()
            if isinstance(question, TakePushed):
                await self._pass_on(number, question)
            return ""

        member = Member(number, answer=answer, on_told=functools.partial(self._told, number))
        try:
            await member.start()
        except OSError as error:
            raise StartFailed(f"cannot start a worker process: {error.strerror or error}") from error
        self._roster.members[number] = member
        return member

    async def _begin(self, member: Member) -> None:
        """Tell a worker what to do. Raises StartFailed where it cannot, LinkLost where it is gone."""
        start = Start(
            config=self._config_of_workers(),
            connector_id=self.connector_id,
            number=member.number,
            workers=self.config.workers,
            pushed=self._pushed,
        )
        if reason := await member.ask(start):
            raise StartFailed(reason)
        self._logs.joined(member)

    def _config_of_workers(self) -> ConnectorConfig:
        """The config without what the main process does for all."""
        return replace(self.config, metrics=None, workers=1)

    async def _keep(self, member: Member) -> None:
        """Serve with one worker, and with its successors, until the end is wished for."""
        loop, delay, begun = asyncio.get_running_loop(), FIRST_RESTART_SECONDS, member.number == 0
        while True:
            started = loop.time()
            reason = await self._live(member, begun=begun)
            self._gone(member)
            if self._ending.is_set():
                return
            was_asked = reason == how_it_ended(0)  # to end, by a signal of its own: it has drained, and did not fail
            if was_asked or loop.time() - started >= HEALTHY_SECONDS:
                delay = FIRST_RESTART_SECONDS
            successor = None
            while successor is None:
                level = logging.INFO if reason == how_it_ended(0) else logging.ERROR
                waits = fields(worker=member.number, retryIn=format_duration(delay))
                self._log.log(level, "A worker ended: %s", reason, **waits)
                if await self._ends_within(delay):
                    return
                delay = min(delay * 2, LONGEST_RESTART_SECONDS)
                try:
                    successor = await self._spawn(member.number)
                except StartFailed as error:
                    reason = str(error)
            self._roster.restarts += 1
            if self._ending.is_set():
                await successor.kill()
                return
            member, begun = successor, False

    async def _live(self, member: Member, *, begun: bool) -> str:
        """Wait until a worker's process ends, and say how it did."""
        try:
            if not begun and await self._may_begin():
                await self._begin(member)
        except StartFailed as error:
            await member.kill()
            return str(error)
        except LinkLost:
            pass  # the exit code says more
        return how_it_ended(await member.ended())

    async def _may_begin(self) -> bool:
        """Wait until anything is registered; False where the end is wished for first."""
        while not self.tracker.connected and not self._was_connected and not self._ending.is_set():
            await self.tracker.wait_change()
        return not self._ending.is_set()

    def _gone(self, member: Member) -> None:
        if self._roster.members.get(member.number) is member:
            del self._roster.members[member.number]
        self._pages.gone(member.number)
        self._logs.gone(member.number)
        configured = self.config.lifecycle.ha_connections
        for index in tuple(self.tracker.connections):
            if index % self.config.workers == member.number:
                reason = "its worker ended"
                self.tracker.observe(Disconnected(index=index, reason=reason, for_good=index >= configured))

    async def _reload(self, member: Member) -> str:
        try:
            return str(await member.ask(Reload(self._config_of_workers())))
        except LinkLost:
            return ""  # its successor begins with the new rules

    # -- all of them -----------------------------------------------------------------------------------------------

    _was_connected = False
    "Whether any connection ever registered: from then on no worker waits for another."

    def _told(self, number: int, message: Any) -> None:
        if isinstance(message, Logged):
            write_relayed(message)
        elif isinstance(message, Happened):
            self._was_connected = self._was_connected or isinstance(message.event, Registered)
            self.tracker.observe(message.event)
            if self._on_event is not None:
                self._on_event(message.event)
        else:
            self._logs.told(number, message)

    async def _pass_on(self, number: int, pushed: TakePushed) -> None:
        """Give the others what one worker was told by the edge, unless they have it; wait until it is in force."""
        if self._pushed is not None and pushed.version <= self._pushed[0]:
            return
        self._pushed = pushed.version, pushed.config
        others = [member for member in self._roster.members.values() if member.number != number]
        await asyncio.gather(*[self._give(member, pushed) for member in others])

    async def _give(self, member: Member, pushed: TakePushed) -> None:
        try:
            error = await member.ask(pushed, SHARING_SECONDS)
        except LinkLost as lost:
            self._log.warning(
                "A worker was not told of a pushed configuration: %s", lost, **fields(worker=member.number)
            )
            return
        if error:
            self._log.error("A worker refused a pushed configuration: %s", error, **fields(worker=member.number))

    async def _end(self, message: Drain | Stop, seconds: float) -> None:
        self._ending.set()
        self.tracker.wake()
        members = tuple(self._roster.members.values())
        for member in members:
            member.tell(message)
        ends = [asyncio.ensure_future(member.ended()) for member in members]
        try:
            if ends:
                await asyncio.wait(ends, timeout=seconds)
        finally:
            for end in ends:
                end.cancel()
        for member, end in zip(members, ends, strict=True):
            if not end.done() or end.cancelled():
                self._log.warning("A worker did not end in time and is killed", **fields(worker=member.number))
                await member.kill()
        if self._keeping:
            await asyncio.wait(self._keeping)

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return False
        return True

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        if self._failure is None:
            self._failure = ConnectorError(f"the connector failed: {task.get_name()}: {type(error).__name__}: {error}")
            self._failure.__cause__ = error
            self._log.critical("%s", self._failure, exc_info=error)
