"""The only connection is replaced while another one, of an index of its own, takes the requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.connector.api.events import Reconnecting
from pyconnector.connector.link.reconnect.stand_in import MAX_RETRY_AFTER_SECONDS, RETRY_SECONDS
from pyconnector.connector.link.session import HTTP2, QUIC
from tests.connector.link.reconnect.test_supervisor import (
    LOST,
    UNREACHABLE,
    UP,
    A,
    B,
    ScriptedAttempt,
    Step,
    World,
    refused,
)

if TYPE_CHECKING:
    from pyconnector.connector.link.edge_connection import Ended, Plan

pytestmark = pytest.mark.usefixtures("virtual_time")


class Counted(ScriptedAttempt):
    """An attempt that says when it is open."""

    async def run(self) -> Ended:
        world = self._world
        assert isinstance(world, Watched)
        world.open += 1
        try:
            return await super().run()
        finally:
            world.open -= 1


class Watched(World):
    """A world that keeps how many connections were registered after each event, and how many attempts are open."""

    open = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counts: list[int] = []

    def attempt(self, plan: Plan) -> ScriptedAttempt:
        made = super().attempt(plan)
        return Counted(self, plan, made._step)

    def emit(self, event: Any) -> None:
        super().emit(event)
        self.counts.append(self.tracker.connected)

    async def running(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.supervisor.run())
        await asyncio.sleep(1)
        return task

    @property
    def dialled(self) -> list[int]:
        return [plan.index for _, plan in self.plans]


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("drain_seconds", [0.0, 3.0])
async def test_the_only_connection_is_replaced_without_a_moment_without_one(drain_seconds: float) -> None:
    world = Watched({}, drain_seconds=drain_seconds)
    task = await world.running()
    assert await world.supervisor.renew(0, 5.0)
    assert world.dialled == [0, 1, 0]
    assert world.drained == [0, 1]
    assert min(world.counts) == 1
    assert world.open == 1
    assert list(world.tracker.connections) == [0], "the other one is forgotten"
    await stop(task)


async def test_the_spare_index_is_no_other_workers() -> None:
    world = Watched({}, indices=range(2, 6, 4))
    task = await world.running()
    assert await world.supervisor.renew(2, 5.0)
    assert world.dialled == [2, 6, 2]
    await stop(task)


@pytest.mark.parametrize(("addresses", "dialled"), [((A, B), [A, B, A]), ((A,), [A, A, A])])
async def test_another_address_is_taken_where_there_is_one(addresses: Any, dialled: Any) -> None:
    world = Watched({}, addresses=addresses)
    task = await world.running()
    assert await world.supervisor.renew(0, 5.0)
    assert [plan.address for _, plan in world.plans] == dialled
    assert "in_use=1" in repr(world.supervisor._book), "it was given back"
    await stop(task)


@pytest.mark.parametrize(
    ("ended", "wait"),
    [
        (UNREACHABLE, RETRY_SECONDS),
        (refused("EDUPCONN"), RETRY_SECONDS),
        (refused(retry_after=90), 90.0),
        (refused(retry_after=1e9), MAX_RETRY_AFTER_SECONDS),
    ],
)
async def test_where_none_can_stand_in_the_connection_stays(ended: Any, wait: float) -> None:
    world = Watched({1: [Step(ended)]})
    task = await world.running()
    assert not await world.supervisor.renew(0, 5.0)
    assert world.drained == []
    assert set(world.counts) == {1}
    await asyncio.sleep(wait - 1)
    assert not await world.supervisor.renew(0, 5.0), "not so soon again"
    assert world.dialled == [0, 1]
    await asyncio.sleep(2)
    assert await world.supervisor.renew(0, 5.0)
    await stop(task)


async def test_one_that_stays_over_http2_is_looked_after_again() -> None:
    world = Watched({0: [Step(UNREACHABLE), UP], 1: [Step(UNREACHABLE)]}, protocol="auto")
    task = await world.running()
    await asyncio.sleep(5)
    choice = world.supervisor._choice
    choice.return_to_quic()
    assert not await world.supervisor.renew(0, 5.0)
    assert [plan.protocol for _, plan in world.plans] == [QUIC, HTTP2, QUIC]
    assert (choice.protocol(0), set(choice.fallen)) == (HTTP2, {0})
    await stop(task)


async def test_a_connection_lost_meanwhile_comes_back_as_any_other() -> None:
    world = Watched({0: [Step(LOST, registers=True, after=0.97), UP]})
    task = await world.running()
    assert await world.supervisor.renew(0, 5.0)
    assert world.drained == [1]
    assert [event.index for event in world.events if isinstance(event, Reconnecting)] == [0]
    assert (world.tracker.connected, world.open) == (1, 1)
    await stop(task)


async def test_a_stand_in_that_is_lost_changes_nothing_for_the_other() -> None:
    world = Watched({1: [Step(LOST, registers=True, after=0.5)]}, drain_seconds=2.0)
    task = await world.running()
    assert await world.supervisor.renew(0, 5.0)
    await asyncio.sleep(1)
    assert world.dialled == [0, 1, 0]
    assert (world.tracker.connected, world.open) == (1, 1)
    await stop(task)


@pytest.mark.parametrize("moment", [0.02, 0.5, 2.07], ids=["dialling", "old one drains", "new one is dialled"])
@pytest.mark.parametrize("end", ["drain", "cancel"])
async def test_the_end_meanwhile_leaves_none_open(moment: float, end: str) -> None:
    world = Watched({}, drain_seconds=2.0)
    task = await world.running()
    renewing = asyncio.create_task(world.supervisor.renew(0, 5.0))
    await asyncio.sleep(moment)
    if end == "drain":
        await asyncio.wait_for(world.supervisor.drain(5.0), 60)
        assert moment < 0.05 or 1 in world.drained, "its requests may end as well"
    else:
        renewing.cancel()
        await asyncio.wait((renewing,))
    await stop(task)
    await asyncio.wait((renewing,))
    assert (world.tracker.connected, world.open) == (0, 0)
