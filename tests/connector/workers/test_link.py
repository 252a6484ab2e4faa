from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pyconnector.connector.api.events import Registered
from pyconnector.connector.config.model import ConnectorConfig, Credentials
from pyconnector.connector.observe.log import Log, fields
from pyconnector.connector.workers import link as link_module
from pyconnector.connector.workers import process
from pyconnector.connector.workers.link import Link, LinkLost
from pyconnector.connector.workers.log_relay import RelayHandler, write_relayed
from pyconnector.connector.workers.messages import (
    Collect,
    Drain,
    Happened,
    Logged,
    Reload,
    ShowConfiguration,
    Start,
    TakePushed,
)

EVENT = Registered(
    index=3, address=("192.0.2.1", 7844), location="LHR", connection_id=uuid.UUID(int=1), remotely_managed=False
)


def connector_config() -> ConnectorConfig:
    return ConnectorConfig(credentials=Credentials(account_tag="a", tunnel_id=uuid.UUID(int=2), secret=b"s"))


class Ends:
    """Two links to each other."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.main = Link(answer=self.answer, on_told=self.told.append)
        self.worker = Link(answer=self.answer, on_told=self.told.append)
        self.go_on = asyncio.Event()

    async def answer(self, question: object) -> object:
        if question == Collect():
            raise RuntimeError("no figures")
        await self.go_on.wait()
        return b"{}"


@contextlib.asynccontextmanager
async def ends() -> AsyncIterator[Ends]:
    both = Ends()
    one, other = socket.socketpair()
    tasks = [asyncio.create_task(both.main.run(one)), asyncio.create_task(both.worker.run(other))]
    await both.main.opened()
    await both.worker.opened()
    try:
        yield both
    finally:
        await both.main.close()
        await both.worker.close()
        await asyncio.wait(tasks)


async def test_what_is_told_arrives_as_it_was_in_order() -> None:
    async with ends() as both:
        both.worker.tell(Happened(EVENT))
        both.worker.tell(Drain())
        both.go_on.set()
        assert await both.worker.ask(ShowConfiguration()) == b"{}"
        assert both.told == [Happened(EVENT), Drain()]


async def test_a_question_that_fails_or_whose_answerer_dies_is_lost() -> None:
    async with ends() as both:
        with pytest.raises(LinkLost, match="RuntimeError: no figures"):
            await both.main.ask(Collect())
        asked = asyncio.create_task(both.main.ask(ShowConfiguration()))
        await asyncio.sleep(0)
        await both.worker.close()
        with pytest.raises(LinkLost, match="gone"):
            await asked
        with pytest.raises(LinkLost, match="gone"):
            await both.main.ask(ShowConfiguration())


async def test_a_message_beyond_the_bound_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ends() as both:
        monkeypatch.setattr(link_module, "MAX_MESSAGE_BYTES", 10)
        with pytest.raises(LinkLost):
            await both.main.ask(ShowConfiguration())


async def test_log_lines_of_a_worker_are_written_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> list[Logged]:
        sent: list[Logged] = []
        handler = RelayHandler(sent.append, lambda: False, 1)
        logger = logging.getLogger("pyconnector.relay-test")
        logger.addHandler(handler)
        logger.propagate = False
        try:
            log = Log("relay-test", {"connIndex": 2})
            log.warning("%d left", 3, **fields(place=uuid.UUID(int=1)))
            try:
                raise ValueError("broken")
            except ValueError:
                log.exception("It failed")
            await asyncio.to_thread(log.warning, "From a thread")
            await asyncio.sleep(0)
        finally:
            logger.removeHandler(handler)
            logger.propagate = True
        return sent

    first, second, third = await test()
    assert (first.message, first.level) == ("3 left", logging.WARNING)
    assert first.fields == {"connIndex": 2, "place": str(uuid.UUID(int=1)), "worker": 1}
    assert "ValueError: broken" in second.stack
    assert third.message == "From a thread"
    with caplog.at_level(logging.INFO, logger="pyconnector"):
        write_relayed(second)
    assert caplog.records[-1].exc_text == second.stack


async def test_log_lines_beyond_the_bound_are_counted() -> None:
    async def test() -> list[Logged]:
        sent: list[Logged] = []
        clogged = True
        handler = RelayHandler(sent.append, lambda: clogged, 0)
        record = logging.LogRecord("pyconnector.x", logging.INFO, "", 0, "a line", (), None)
        handler.emit(record)
        handler.emit(record)
        clogged = False
        handler.emit(record)
        return sent

    assert [line.message[:19] for line in await test()] == ["2 lines are missing", "a line"]


async def test_rules_that_come_while_a_worker_starts_are_in_force_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[object]:
        reloaded: list[object] = []
        go_on = asyncio.Event()

        class Starting:
            def __init__(self, config: object, **more: object) -> None:
                pass

            async def start(self, *, wait_for_edge: bool) -> None:
                await go_on.wait()

            async def reload(self, config: object) -> None:
                reloaded.append(config)

            async def apply_pushed(self, version: int, config: bytes) -> str:
                reloaded.append(version)
                return ""

        monkeypatch.setattr(process, "Connector", Starting)
        worker = process.Worker()
        old, new = connector_config(), connector_config()
        start = Start(config=old, connector_id=uuid.UUID(int=1), number=0, workers=2, pushed=None)
        starting = asyncio.create_task(worker._answer(start))
        await asyncio.sleep(0)
        assert await worker._answer(Reload(new)) == ""
        assert await worker._answer(TakePushed(4, b"{}")) == ""
        go_on.set()
        assert await starting == ""
        return [found if isinstance(found, int) else found is new for found in reloaded]

    logger = logging.getLogger("pyconnector")
    handlers, propagate = list(logger.handlers), logger.propagate
    try:
        assert await main() == [True, 4]
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
