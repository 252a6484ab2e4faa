"""One worker: `python -m pyconnector.connector.workers.process DESCRIPTOR`, started by `pyconnector run` alone.

It is told everything over the socket that it inherits as DESCRIPTOR. SIGTERM and the end of the main process drain it;
SIGINT and SIGHUP are for the main process, which has the terminal in common with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from pyconnector.connector.api.connector import Connector
from pyconnector.connector.api.errors import ConnectorError, ReloadRejected
from pyconnector.connector.api.events import Registered
from pyconnector.connector.cli.exits import CLEAN, FAILED
from pyconnector.connector.cli.loops import run_loop, settle
from pyconnector.connector.observe.log import LEVELS, ROOT, Log
from pyconnector.connector.observe.rule_metrics import RuleMetrics
from pyconnector.connector.observe.server.metrics_server import TEXT_TYPE, metrics_answer
from pyconnector.connector.tasks import TaskOwner
from pyconnector.connector.workers.link import Link, LinkLost
from pyconnector.connector.workers.log_relay import RelayHandler
from pyconnector.connector.workers.messages import (
    Collect,
    Drain,
    Happened,
    Reload,
    ShowConfiguration,
    ShowMetrics,
    Start,
    Stop,
    TakePushed,
)
from pyconnector.connector.workers.share import Share
from pyconnector.connector.workers.shared_log import SharedLog

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pyconnector.connector.api.events import Event
    from pyconnector.connector.config.model import LogConfig
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.connector.observe.server.metrics_server import Answer
    from pyconnector.connector.workers.messages import Families, Question, Told


class Worker:
    """A Connector with a share of the connections, for as long as the main process wants it."""

    def __init__(self) -> None:
        self._link = Link(answer=self._answer, on_told=self._told)
        self._connector: Connector | None = None
        self._exit = contextlib.ExitStack()
        self._drain = asyncio.Event()
        self._stop = asyncio.Event()
        self._started = asyncio.Event()
        self._meanwhile: list[Reload | TakePushed] = []
        "What came during the start."
        self._settled = False
        self._logs: SharedLog | None = None
        self._tasks = TaskOwner(lambda task, error: None)  # all are awaited, or cancelled
        self._log = Log("workers")

    async def run(self, sock: socket.socket) -> int:
        """Work until told to end, or until the connector ends by itself; return the exit code. Cancel stops at once."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._drain.set)
        link = self._tasks.spawn(self._link.run(sock), name="link")
        link.add_done_callback(lambda _: self._drain.set())
        try:
            with self._exit:
                await self._first(self._drain.wait(), self._stop.wait(), self._failed())
                if self._connector is not None and self._drain.is_set():
                    await self._first(self._connector.drain(), self._stop.wait())
        finally:
            if self._connector is not None:
                await self._connector.stop()
            await self._link.close()
            await self._tasks.cancel_all()
        return CLEAN if self._drain.is_set() or self._stop.is_set() else FAILED

    async def _first(self, *coroutines: Coroutine[Any, Any, object]) -> None:
        running = [self._tasks.spawn(coroutine, name="worker") for coroutine in coroutines]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in running:
                task.cancel()

    async def _failed(self) -> None:
        """Wait until the connector ends by itself, which it says in the log. Cancel at any time."""
        await self._started.wait()
        assert self._connector is not None
        with contextlib.suppress(ConnectorError):
            await self._connector.wait_closed()

    def _told(self, message: Told) -> None:
        if isinstance(message, Drain):
            self._drain.set()
        elif isinstance(message, Stop):
            self._stop.set()
        elif self._logs is not None:
            self._logs.told(message)

    async def _answer(self, question: Question) -> object:
        if isinstance(question, Start):
            return await self._start(question)
        connector = self._connector
        if connector is None:
            if isinstance(question, Reload | TakePushed):
                self._meanwhile.append(question)
            return ""
        if isinstance(question, Reload):
            try:
                await connector.reload(question.config)
            except ReloadRejected as error:
                return str(error)
            return ""
        if isinstance(question, TakePushed):
            return await connector.apply_pushed(question.version, question.config)
        if isinstance(question, ShowConfiguration):
            return await connector.shown_configuration()
        assert isinstance(question, Collect)
        return _families(connector)

    async def _start(self, start: Start) -> str:
        self._log_through(start)
        # What each rule serves is counted where its requests are; the main process adds up and shows.
        observers: list[Observer] = [RuleMetrics()]
        if start.config.log.access:
            observers.append(self._access_log(start.config.log))
        if start.config.trace_to:
            from pyconnector.connector.observe.tracing import open_tracing  # for those who want it

            try:
                tracing = open_tracing(start.config.trace_to)
            except ConnectorError as error:
                return str(error)
            self._exit.callback(tracing.close)
            observers.append(tracing)
        self._logs = SharedLog(self._link, start.number, start.connector_id)
        share = Share(
            number=start.number,
            workers=start.workers,
            connector_id=start.connector_id,
            pushed=start.pushed,
            tell_others=self._tell_others,
            logs=self._logs,
            metrics=self._metrics,
        )
        connector = Connector(start.config, on_event=self._happened, observers=observers, share=share)
        try:
            await connector.start(wait_for_edge=True)
        except ConnectorError as error:
            await connector.stop()
            return str(error)
        self._connector = connector
        self._started.set()
        for question in self._meanwhile:
            if reason := await self._answer(question):
                self._log.error("A change that came during the start is not in force here: %s", reason)
        self._meanwhile.clear()
        return ""

    def _log_through(self, start: Start) -> None:
        logger = logging.getLogger(ROOT)
        logger.setLevel(LEVELS.get(start.config.log.level, logging.INFO))
        logger.propagate = False
        handler = RelayHandler(self._link.tell, lambda: self._link.is_clogged, start.number)
        for taken in (logger, logging.getLogger()):  # what libraries warn of would come bare
            taken.addHandler(handler)

    def _access_log(self, config: LogConfig) -> Observer:
        from pyconnector.connector.observe.access_log import AccessLog  # for those who want one
        from pyconnector.connector.observe.access_log_output import open_access_log

        handler = open_access_log(config)
        assert handler is not None
        self._exit.callback(handler.close)
        return AccessLog(handler)

    def _happened(self, event: Event) -> None:
        self._link.tell(Happened(event))
        if isinstance(event, Registered) and not self._settled:
            self._settled = True
            settle()

    async def _metrics(self) -> Answer:
        try:
            return metrics_answer(await self._link.ask(ShowMetrics()))
        except LinkLost:
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT_TYPE, b"the connector ends\n"

    async def _tell_others(self, version: int, config: bytes) -> None:
        with contextlib.suppress(LinkLost):
            await self._link.ask(TakePushed(version, config))


def _families(connector: Connector) -> Families:
    return [
        (metric.name, metric.documentation, metric.type, [(s.name, dict(s.labels), s.value) for s in metric.samples])
        for metric in connector.registry.collect()
    ]


def main(descriptor: int) -> int:
    """Run one worker; return the exit code."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return run_loop(lambda: _work(sock))


async def _work(sock: socket.socket) -> int:
    return await Worker().run(sock)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
