"""The log of several processes, read through one of them; links are queues here, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from pyconnector.connector.management import sessions
from pyconnector.connector.management.messages import Filters
from pyconnector.connector.observe.log import GENERAL, HTTP, Log
from pyconnector.connector.observe.log_taps import NOBODY, TAPS, Taps
from pyconnector.connector.workers import log_exchange, shared_log
from pyconnector.connector.workers.log_exchange import LogExchange
from pyconnector.connector.workers.messages import Overhear, Overheard
from pyconnector.connector.workers.roster import Roster
from pyconnector.connector.workers.shared_log import SharedLog
from tests.connector.management.test_log_stream import ME, Reader

pytestmark = pytest.mark.usefixtures("virtual_time")
AT = datetime(2026, 11, 29, tzinfo=UTC)


class Line:
    """One way of a link: what is told arrives in order, a turn later."""

    def __init__(self, deliver: Any) -> None:
        self.is_clogged = False
        self.told: deque[Any] = deque(maxlen=50)
        self._deliver = deliver

    def tell(self, message: Any) -> None:
        self.told.append(message)
        asyncio.get_running_loop().call_soon(self._deliver, message)


class Worker:
    """A process with taps of its own, as far as the log goes."""

    def __init__(self, world: World, number: int) -> None:
        self.to_main = Line(lambda message: world.exchange.told(number, message))
        self.taps = Taps()
        self.streaming: list[Any] = []
        self.log = SharedLog(cast("Any", self.to_main), number, ME)
        self.member = Line(lambda message: world.within(self, self.log.told, message))


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        roster = Roster()
        self.exchange = LogExchange(roster, ME)
        self.workers = [Worker(self, number) for number in range(3)]
        self.members = roster.members
        for number, worker in enumerate(self.workers):
            roster.members[number] = cast("Any", worker.member)

    def within(self, worker: Worker, call: Any, *args: Any) -> Any:
        """Do something as the process of `worker` does: a process has one list of taps, and one of readers."""
        with self._patch.context() as patch:
            patch.setattr(shared_log, "TAPS", worker.taps)
            patch.setattr(sessions, "TAPS", worker.taps)
            patch.setattr(sessions, "_streaming", worker.streaming)
            return call(*args)

    def reader(self, number: int, actor: str = "me", level: str = "info", **filters: Any) -> Any:
        """A session that has begun in a worker."""
        worker = self.workers[number]
        left: list[int] = []
        session = sessions.LogSession(
            actor, ME, random=lambda: 0.0, disconnect=lambda: left.append(1), elsewhere=worker.log
        )
        level_number = {"info": logging.INFO, "debug": logging.DEBUG}[level]
        wanted = Filters(level=level_number, **filters)
        assert self.within(worker, session.begin, wanted)
        return session, asyncio.ensure_future(session.begin_elsewhere()), left

    def say(self, number: int, text: str, level: int = logging.INFO, kind: str = GENERAL) -> None:
        worker = self.workers[number]
        if level >= worker.taps.level:
            worker.taps.hand(level, text, {"path": "/"}, kind)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(log_exchange, "TAPS", TAPS)
    yield World(monkeypatch)
    TAPS._set(())


def texts(session: Any) -> list[str]:
    found = [json.loads(line)["logs"][0] for line in session._lines]
    return [f"{each.get('fields', {}).get('worker', '-')} {each['message']}" for each in found]


async def settle() -> None:
    await asyncio.sleep(0.01)


async def test_one_reader_sees_the_lines_of_every_process(world: World) -> None:
    session, granted, _ = world.reader(1)
    await settle()
    assert granted.result()
    for number in (0, 1, 2):
        world.say(number, "hello")
    Log("workers").info("from the main process")
    await settle()
    assert sorted(texts(session)) == ["- from the main process", "0 hello", "1 hello", "2 hello"]
    world.within(world.workers[1], session.end)
    await settle()
    assert all(worker.log._tap is None for worker in world.workers)
    assert TAPS.level == NOBODY


async def test_filters_are_applied_where_lines_are_written(world: World) -> None:
    session, _, _ = world.reader(0, level="debug", kinds=frozenset({HTTP}))
    await settle()
    told = len(world.workers[1].to_main.told)
    world.say(1, "general")
    assert len(world.workers[1].to_main.told) == told
    world.say(1, "request", logging.DEBUG, HTTP)
    await settle()
    assert texts(session) == ["1 request"]


async def test_one_reads_at_a_time_in_whichever_process(world: World) -> None:
    first, _, left = world.reader(0)
    await settle()
    refused, granted, _ = world.reader(2, "another")
    await settle()
    assert not granted.result()
    world.within(world.workers[2], refused.end)
    again, granted, _ = world.reader(2, "me")
    await settle()
    assert granted.result()
    assert left == [1], "the session before is disconnected"
    world.say(0, "hello")
    await settle()
    assert texts(again) == ["0 hello"]
    assert texts(first) == []


async def test_workers_that_come_and_go_are_heard_as_well(world: World) -> None:
    session, _, _ = world.reader(0)
    await settle()
    world.workers[1] = Worker(world, 1)
    world.members[1] = cast("Any", world.workers[1].member)
    world.exchange.joined(cast("Any", world.workers[1].member))
    await settle()
    world.say(1, "new")
    await settle()
    assert texts(session) == ["1 new"]
    world.exchange.gone(0)
    await settle()
    assert world.workers[1].log._tap is None
    _, granted, _ = world.reader(1, "another")
    await settle()
    assert granted.result(), "nobody reads any more"


async def test_lines_that_a_process_cannot_take_are_dropped(world: World) -> None:
    session, _, _ = world.reader(0)
    await settle()
    world.workers[1].to_main.is_clogged = True
    world.say(1, "lost")
    await settle()
    assert texts(session) == []
    world.workers[0].member.is_clogged = True
    world.say(2, "lost")
    await settle()
    assert texts(session) == []


async def test_lines_of_workers_without_a_reader_go_nowhere(world: World) -> None:
    line = Overheard(time=AT, level=logging.INFO, message="late", values={}, kind=GENERAL)
    world.exchange.told(1, line)
    world.workers[0].log.told(line)
    world.workers[0].log.told(Overhear(None))
    await settle()
    assert all(not worker.member.told for worker in world.workers)


@contextlib.asynccontextmanager
async def refused_elsewhere() -> AsyncIterator[Reader]:
    class Elsewhere:
        worker = 0

        async def listen(self, session: object) -> bool:
            return False

        def end(self, session: object) -> None: ...

    made = Reader()
    made.stream._session._elsewhere = Elsewhere()
    yield made
    made.stream.abort()
    await settle()


async def test_a_reader_who_is_not_alone_in_all_processes_is_told(world: World) -> None:
    async with refused_elsewhere() as one:
        one.start()
        assert await one.close_code() == 4002
        await settle()
        assert not sessions._streaming
