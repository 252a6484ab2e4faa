"""A Connector as a process: signals, the process id file, and what the service manager is told.

SIGTERM and SIGINT drain, a second one stops at once (reference/lifecycle.md 10); SIGHUP and a changed config file
reload the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyconnector.connector.api.connector import Connector
from pyconnector.connector.api.errors import ConfigError, ReloadRejected
from pyconnector.connector.api.events import Disconnected, Event, Registered, Unregistered
from pyconnector.connector.background import in_background
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.loops import settle, uncollected
from pyconnector.connector.cli.process.config_watch import ConfigWatch
from pyconnector.connector.cli.process.prechecks import check_way
from pyconnector.connector.cli.process.service_manager import ServiceManager
from pyconnector.connector.observe.log import Log
from pyconnector.connector.tasks import TaskOwner

if TYPE_CHECKING:
    from pyconnector.connector.cli.process.progress import ProgressLine
    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.connector.workers.fleet import Fleet

#: What a terminal shows while nothing is connected.
CONNECTING = "Connecting to the edge ..."

_log = Log("service")


class Signals:
    """What the process was asked to do so far."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        "Asked to end, requests first."
        self.stop_now = asyncio.Event()
        "Asked again."
        self.reload = asyncio.Event()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take the process's signals for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        actions = {"SIGTERM": self._ask_to_stop, "SIGINT": self._ask_to_stop, "SIGHUP": self._ask_to_reload}
        taken = []
        for name, action in actions.items():
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, action, name)
                taken.append(number)
            except NotImplementedError:  # Windows: only what `signal` itself can do
                signal.signal(number, lambda *_, action=action, name=name: loop.call_soon_threadsafe(action, name))
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _ask_to_stop(self, name: str) -> None:
        if self.stop.is_set():
            _log.info("Stopping at once due to a second signal %s", name)
            self.stop_now.set()
        else:
            _log.info("Initiating graceful shutdown due to signal %s", name)
            self.stop.set()

    def _ask_to_reload(self, name: str) -> None:
        _log.info("Reloading configuration due to signal %s", name)
        self.reload.set()


async def serve(
    config: ConnectorConfig,
    read_config: Callable[[], ConnectorConfig],
    on_registered: Callable[[], None] | None = None,
    *,
    observers: Sequence[Observer] = (),
    progress: ProgressLine | None = None,
) -> int:
    """Run a Connector until a signal ends it; return the exit code. Cancel stops at once.

    `read_config` is called to reload, `on_registered` once every connection is registered; `observers` are those of
    the Connector; `progress` shows how far connecting has come.

    Raises:
        ConnectorError: it could not be started, or failed.
    """
    signals = Signals()
    tasks = TaskOwner(lambda task, error: None)  # every task here is awaited
    with signals.installed(), contextlib.ExitStack() as stack:
        manager = ServiceManager()
        announcer = _Announcer(config, on_registered, manager, progress)
        connector = _connector(config, announcer.observe, observers)
        beside = [asyncio.ensure_future(manager.watch())]
        if config.prechecks:
            beside.append(asyncio.ensure_future(check_way(config, lambda: bool(connector.tracker.connected))))
        _take_commands(config, connector, stack)
        manager.status("connecting to the edge")
        if progress is not None:
            progress.show(CONNECTING)
        watch = ConfigWatch(config.file) if config.watch and config.file else None
        try:
            if await _first(tasks, connector.start(wait_for_edge=True), signals.stop.wait()):
                return CLEAN
            while True:
                waits = [connector.wait_closed(), signals.stop.wait(), signals.reload.wait()]
                done = await _first(tasks, *waits, *([watch.wait_change()] if watch is not None else []))
                if done >= 2:
                    signals.reload.clear()
                    if done == 3:
                        _log.info("Reloading configuration, since the file changed")
                    if watch is not None and done == 2:
                        await in_background(watch.seen)
                    announcer.reloading()
                    # A config that is a pipe may never be read to its end; the process ends all the same.
                    await _first(tasks, _reload(connector, read_config), signals.stop.wait())
                    announcer.reloaded()
                    continue
                if done == 1:
                    manager.stopping()
                    await _first(tasks, connector.drain(), signals.stop_now.wait())
                return CLEAN
        finally:
            if progress is not None:
                progress.show("")
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await connector.stop()


def _connector(
    config: ConnectorConfig, on_event: Callable[[Event], None], observers: Sequence[Observer]
) -> Connector | Fleet:
    """What serves: in this process, or in as many as the config wants."""
    if config.workers == 1:
        return Connector(config, on_event=on_event, observers=observers)
    from pyconnector.connector.workers.fleet import Fleet  # only where there are several

    return Fleet(config, on_event=on_event)


def _take_commands(config: ConnectorConfig, connector: Connector | Fleet, stack: contextlib.ExitStack) -> None:
    if not config.stdin_control:
        return
    if not isinstance(connector, Connector):
        _log.warning("stdin-control has no effect with several workers")
        return
    from pyconnector.connector.cli.process.stdin_control import commands_from  # for tests alone

    stack.enter_context(commands_from(0, connector.reconnect))


async def _first(tasks: TaskOwner, *coroutines: Coroutine[Any, Any, Any]) -> int:
    """Run all until the first is done; cancel the others and return which it was. Its error is raised."""
    running = [tasks.spawn(coroutine, name=f"service {number}") for number, coroutine in enumerate(coroutines)]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = [task for task in running if task.done()]
        await tasks.cancel_all()
    done[0].result()
    return running.index(done[0])


async def _reload(connector: Connector | Fleet, read_config: Callable[[], ConnectorConfig]) -> None:
    try:
        with uncollected():
            config = await in_background(read_config)
        await connector.reload(config)
    except ConfigError as error:
        for problem in error.problems:
            if not problem.warning:
                _log.error("The new configuration is not used: %s", problem)
    except ReloadRejected as error:
        _log.error("The new configuration is not used: %s", error)
    else:
        _log.info("The new rules are in force")


class _Announcer:
    """Tells of the connections: the process id file and `READY=1` with the first, a status line with each change."""

    def __init__(
        self,
        config: ConnectorConfig,
        on_registered: Callable[[], None] | None,
        manager: ServiceManager,
        progress: ProgressLine | None,
    ) -> None:
        self._pidfile = config.pidfile
        self._on_registered = on_registered
        self._awaited = config.lifecycle.ha_connections
        self._registered = 0
        self._up: set[int] = set()
        self._manager = manager
        self._progress = progress

    def observe(self, event: Event) -> None:
        if isinstance(event, Registered):
            self._up.add(event.index)
        elif isinstance(event, Disconnected | Unregistered):
            self._up.discard(event.index)
        else:
            return
        self._manager.status(f"{len(self._up)} of {self._awaited} connections to the edge")
        if self._progress is not None:
            self._progress.show("" if self._up else CONNECTING)
        if not isinstance(event, Registered) or self._registered >= self._awaited:
            return
        self._registered += 1
        if self._registered == 1:
            self._announce()
        if self._registered == self._awaited and self._on_registered is not None:
            self._on_registered()

    def reloading(self) -> None:
        """A reload begins; a manager that was not told `ready` yet goes on waiting for that."""
        if self._registered:
            self._manager.reloading()

    def reloaded(self) -> None:
        """It is over, whatever came of it."""
        if self._registered:
            self._manager.ready()

    def _announce(self) -> None:
        self._manager.ready()
        try:
            if self._pidfile:
                Path(self._pidfile).expanduser().write_text(str(os.getpid()), encoding="ascii")
        except OSError as error:
            _log.error("Cannot write the process id file: %s", error)
        settle()
