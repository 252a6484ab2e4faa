from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.api.events import Disconnected, Event, Reconnecting, Refused, Registered
from pyconnector.connector.api.tracker import ConnectionTracker
from pyconnector.connector.discovery.address_book import AddressBook, Region
from pyconnector.connector.link.edge_connection import Ended, EndKind, Plan
from pyconnector.connector.link.protocol_choice import ProtocolChoice
from pyconnector.connector.link.reconnect.backoff import Backoff
from pyconnector.connector.link.reconnect.supervisor import (
    MAX_RETRY_AFTER_SECONDS,
    NO_ROUTE_SECONDS,
    PERMANENT_REFUSAL_SECONDS,
    Reach,
    Supervisor,
    sentence,
)
from pyconnector.protocol.rpc.registration import ConnectionDetails, Refusal

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address, Connection

pytestmark = pytest.mark.usefixtures("virtual_time")

pytestmark = pytest.mark.usefixtures("virtual_time")

A, B = ("192.0.2.1", 7844), ("192.0.2.2", 7844)
UNREACHABLE = Ended(kind=EndKind.UNREACHABLE, reason="nobody answers")
LOST = Ended(kind=EndKind.LOST, reason="gone")
IDLE = Ended(kind=EndKind.LOST, reason="silent", idle=True)


def refused(cause: str = "no", *, retry_after: float = 0.0, should_retry: bool = True) -> Ended:
    refusal = Refusal(cause=cause, retry_after=retry_after, should_retry=should_retry)
    return Ended(kind=EndKind.REFUSED, reason=cause, refusal=refusal)


@dataclass
class Step:
    """What one attempt does: fail after `after` seconds, or register first and end then."""

    ended: Ended
    registers: bool = False
    after: float = 0.1


UP = Step(LOST, registers=True, after=1e9)


@dataclass
class World:
    """A supervisor whose attempts follow a script, in virtual time."""

    script: dict[int, list[Step]]
    count: int = 1
    addresses: tuple[Address, ...] = (A,)
    random: float = 1.0
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    drained: list[int] = field(default_factory=list)
    drain_seconds: float = 0.0
    protocol: str = "quic"
    cancelled: list[int] = field(default_factory=list)
    indices: range | None = None
    "In place of `count`."

    def __post_init__(self) -> None:
        self.tracker = ConnectionTracker()
        self.left = {index: deque(steps) for index, steps in self.script.items()}
        book = AddressBook(
            [Region([address]) for address in self.addresses], choose=lambda found: found[0], shared=True
        )
        self.supervisor = Supervisor(
            indices=self.indices or range(self.count),
            reach=Reach(book, ProtocolChoice(self.protocol)),
            make_attempt=self.attempt,
            make_backoff=lambda: Backoff(random=lambda: self.random),
            tracker=self.tracker,
            emit=self.emit,
        )

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.tracker.observe(event)

    def attempt(self, plan: Plan) -> ScriptedAttempt:
        self.plans.append((asyncio.get_running_loop().time(), plan))
        steps = self.left.get(plan.index)
        return ScriptedAttempt(self, plan, steps.popleft() if steps else UP)

    @property
    def starts(self) -> list[float]:
        return [round(time, 3) for time, _ in self.plans]

    async def run_for(self, seconds: float) -> None:
        task = asyncio.create_task(self.supervisor.run())
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class ScriptedAttempt:
    connection: Connection | None = None
    active_streams = 0

    def __init__(self, world: World, plan: Plan, step: Step) -> None:
        self.details: ConnectionDetails | None = None
        self.pushed = 0
        self._world, self._plan, self._step = world, plan, step
        self._end = asyncio.Event()
        self._broken_off = False

    async def run(self) -> Ended:
        if self._step.registers:
            await asyncio.sleep(0.05)
            self.details = ConnectionDetails(connection_id=uuid.uuid4(), location="LHR")
            self._world.emit(
                Registered(
                    index=self._plan.index, address=self._plan.address, location="LHR",
                    connection_id=self.details.connection_id, remotely_managed=False,
                )
            )  # fmt: skip
        try:
            async with asyncio.timeout(self._step.after):
                await self._end.wait()
        except TimeoutError:
            return self._step.ended
        except asyncio.CancelledError:
            self._world.cancelled.append(self._plan.index)
            raise
        return LOST if self._broken_off else Ended(kind=EndKind.DRAINED, reason="drained")

    async def drain(self, grace_period: float) -> None:
        await asyncio.sleep(min(grace_period, self._world.drain_seconds))
        self._world.drained.append(self._plan.index)
        # `run` ends somewhat later than this, as that of a real one does.
        asyncio.get_running_loop().call_later(1e-6, self._end.set)

    def break_off(self) -> None:
        self._broken_off = True
        self._end.set()

    async def push_local_configuration(self) -> None:
        self.pushed += 1


async def run(world_of: dict[int, list[Step]], seconds: float, **options: object) -> World:
    async def main() -> World:
        world = World(world_of, **options)  # type: ignore[arg-type]
        await world.run_for(seconds)
        return world

    return await main()


async def test_connection_0_starts_alone_and_the_others_follow_in_order() -> None:
    world = await run({0: [Step(UNREACHABLE), UP]}, 10, count=4)
    assert [plan.index for _, plan in world.plans] == [0, 0, 1, 2, 3]
    # 0.1 s until the failure, 2 s of waiting, then 50 ms for each registration
    assert world.starts == [0, 2.1, 2.15, 2.2, 2.25]
    assert sorted(event.index for event in world.events if isinstance(event, Registered)) == [0, 1, 2, 3]


async def test_a_connection_with_troubles_holds_the_next_up_for_a_second_only() -> None:
    world = await run({0: [UP], 1: [Step(UNREACHABLE, after=100)], 2: [UP]}, 3, count=3)
    assert [(start, plan.index) for start, (_, plan) in zip(world.starts, world.plans, strict=True)] == [
        (0, 0), (0.05, 1), (1.05, 2),
    ]  # fmt: skip


async def test_waits_grow_to_their_bound_without_end_even_with_one_edge_address() -> None:
    world = await run({0: [Step(UNREACHABLE, after=0.0)] * 8}, 160)
    gaps = [round(later - earlier) for earlier, later in zip(world.starts, world.starts[1:], strict=False)]
    assert gaps[:7] == [2, 4, 8, 16, 32, 32, 32]


async def test_success_resets_the_wait_and_attempts_are_counted() -> None:
    steps = [Step(UNREACHABLE)] * 3 + [Step(LOST, registers=True, after=100), UP]
    world = await run({0: steps}, 200)
    assert [plan.previous_attempts for _, plan in world.plans] == [0, 1, 2, 3, 1]
    assert round(world.starts[4] - world.starts[3] - 100.05, 2) == 2.0


@pytest.mark.parametrize(
    ("ended", "second"),
    [(UNREACHABLE, B), (IDLE, B), (refused("EDUPCONN"), B), (LOST, A), (refused(), A)],
)
async def test_the_address_rotates_where_another_may_be_better(ended: Ended, second: Address) -> None:
    world = await run({0: [Step(ended), UP]}, 10, addresses=(A, B))
    assert [plan.address for _, plan in world.plans] == [A, second]


async def test_the_edges_wish_to_wait_is_obeyed_and_bounded() -> None:
    world = await run({0: [Step(refused(retry_after=20)), Step(refused(retry_after=1e12)), UP]}, 5000)
    assert world.starts[1] == pytest.approx(20.1)
    assert world.starts[2] - world.starts[1] - 0.1 == pytest.approx(MAX_RETRY_AFTER_SECONDS)


async def test_a_permanent_refusal_is_reported_and_not_retried_hot() -> None:
    world = await run({0: [Step(refused("Unauthorized", should_retry=False))] * 3}, 2 * PERMANENT_REFUSAL_SECONDS)
    assert len(world.plans) == 2
    assert world.starts[1] >= PERMANENT_REFUSAL_SECONDS
    assert world.tracker.refused == Refused(index=0, cause="Unauthorized", permanent=True)


async def test_a_duplicate_is_no_permanent_refusal() -> None:
    world = await run({0: [Step(refused("EDUPCONN", should_retry=False)), UP]}, 10)
    assert world.starts[1] < 5
    assert world.tracker.refused is None


async def test_events_tell_of_the_wait() -> None:
    world = await run({0: [Step(UNREACHABLE), UP]}, 1, random=0.25)
    assert Reconnecting(index=0, delay=0.5) in world.events


async def test_trouble_is_an_error_while_nothing_is_connected_and_a_warning_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "pyconnector"):
        await run({0: [Step(UNREACHABLE), UP], 1: [Step(UNREACHABLE), UP]}, 10, count=2)
    levels = [record.levelname for record in caplog.records if "Cannot connect" in record.getMessage()]
    assert levels == ["ERROR", "WARNING"]


async def test_a_failure_that_goes_on_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    def told(level: int) -> int:
        found = [record for record in caplog.records if "Cannot connect" in record.getMessage()]
        return len([record for record in found if record.levelno >= level])

    with caplog.at_level(logging.DEBUG, "pyconnector"):
        await World({0: [Step(UNREACHABLE)] * 1000}, random=0.001).run_for(50)
        assert (told(logging.ERROR), told(logging.DEBUG) > 100) == (1, True)
        assert all(record.__dict__["fields"].get("retryIn") != "0s" for record in caplog.records)
        caplog.clear()
        await World({0: [Step(UNREACHABLE)] * 2000}, random=0.001).run_for(150)
        assert told(logging.ERROR) == 3


async def test_each_connection_that_is_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    steps = [Step(LOST, registers=True, after=5), Step(UNREACHABLE)]
    with caplog.at_level(logging.WARNING, "pyconnector"):
        await World({0: steps, 1: steps}, count=2).run_for(8)
    assert caplog.text.count("Lost the connection") == 2


async def test_drain_ends_connected_ones_gently_and_the_others_at_once() -> None:
    world = World({0: [UP], 1: [Step(UNREACHABLE, after=100)]}, count=2, drain_seconds=3)
    task = asyncio.create_task(world.supervisor.run())
    await asyncio.sleep(1)
    started = asyncio.get_running_loop().time()
    await world.supervisor.drain(30)
    await task
    assert world.drained == [0]
    assert world.cancelled == [1]
    assert asyncio.get_running_loop().time() - started == pytest.approx(3)


async def test_drain_before_anything_connected_ends_at_once() -> None:
    world = World({0: [Step(UNREACHABLE)] * 9}, count=4)
    task = asyncio.create_task(world.supervisor.run())
    await asyncio.sleep(1)  # in the middle of a wait
    await world.supervisor.drain(30)
    await task
    assert asyncio.get_running_loop().time() == pytest.approx(1)


async def test_drain_while_the_others_wait_for_their_turn_starts_none_of_them() -> None:
    world = World({0: [UP], 1: [Step(UNREACHABLE, after=0.3), UP]}, count=3)
    task = asyncio.create_task(world.supervisor.run())
    await asyncio.sleep(0.5)  # the third waits for the second
    await world.supervisor.drain(30)
    await task
    assert {plan.index for _, plan in world.plans} == {0, 1}


def test_each_ending_is_one_sentence() -> None:
    assert sentence(UNREACHABLE) == "Cannot connect to the edge: nobody answers"
    untrusted = Ended(kind=EndKind.UNREACHABLE, reason="self-signed", untrusted=True)
    assert sentence(untrusted).endswith("is not trusted: self-signed")
    assert "Unauthorized; check the credentials" in sentence(refused("Unauthorized", should_retry=False))
    assert sentence(refused("busy")) == "The edge refused the registration: busy"
    assert sentence(refused("", should_retry=True)).endswith("it gave no reason")
    assert sentence(LOST) == "Lost the connection to the edge: gone"
    assert sentence(Ended(kind=EndKind.UNREGISTERED, reason="no answer")) == "Registration failed: no answer"


async def test_connections_that_are_cut_off_count_as_closed() -> None:
    world = World({0: [UP], 1: [UP], 2: [Step(UNREACHABLE)]}, count=3)

    await world.run_for(0.5)
    assert (world.tracker.connected, world.tracker.running) == (0, 0)
    assert [event.index for event in world.events if isinstance(event, Disconnected)].count(0) == 1


async def test_an_idle_connection_is_replaced_at_once_and_without_a_wait() -> None:
    async def main() -> World:
        world = World({0: [UP], 1: [UP]}, count=2)
        running = asyncio.create_task(world.run_for(20))
        await asyncio.sleep(1)
        assert await world.supervisor.renew(1, 5.0)
        await asyncio.sleep(1)
        assert world.tracker.connected == 2
        await running
        return world

    world = await main()
    assert world.drained == [1]
    assert [plan.index for _, plan in world.plans] == [0, 1, 1]
    assert world.starts == [0, 0.05, 1.0]
    assert not any(isinstance(event, Reconnecting) for event in world.events)


@pytest.mark.parametrize("reason", ["in use", "draining", "not there"])
async def test_a_connection_that_is_needed_is_not_replaced(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> World:
        world = World({0: [UP], 1: [UP]}, count=2)
        running = asyncio.create_task(world.run_for(20))
        await asyncio.sleep(0 if reason == "not there" else 1)
        if reason == "in use":
            monkeypatch.setattr(ScriptedAttempt, "active_streams", 1)
        if reason == "draining":
            world.drain_seconds = 5.0
            draining = asyncio.create_task(world.supervisor.drain(5.0))
            await asyncio.sleep(1)
        assert not await world.supervisor.renew(0, 5.0)
        if reason == "draining":
            await draining
        await running
        return world

    world = await main()
    assert sorted(world.drained) == ([0, 1] if reason == "draining" else [])
    assert len(world.plans) == 2


async def test_a_connection_that_is_lost_while_it_is_replaced_comes_back_as_any_other() -> None:
    async def main() -> World:
        world = World({0: [UP], 1: [Step(LOST, registers=True, after=2.0), UP]}, count=2)
        world.drain_seconds = 4.0
        running = asyncio.create_task(world.run_for(20))
        await asyncio.sleep(1)
        await world.supervisor.renew(1, 5.0)
        await running
        return world

    world = await main()
    assert [event.index for event in world.events if isinstance(event, Reconnecting)] == [1]
    assert [plan.index for _, plan in world.plans] == [0, 1, 1]


NO_ROUTE = Ended(kind=EndKind.UNREACHABLE, reason="cannot reach it", no_route=True)


async def test_success_wakes_those_who_wait() -> None:
    script = {
        0: [Step(LOST, registers=True, after=5), *[Step(UNREACHABLE, after=0.0)] * 3, UP],
        1: [Step(LOST, registers=True, after=20), UP],
    }
    world = await run(script, 60, count=2)
    starts: dict[int, list[float]] = {0: [], 1: []}
    for start, (_, plan) in zip(world.starts, world.plans, strict=True):
        starts[plan.index].append(start)
    assert starts[1] == [0.05, 22.1]
    # Its fourth wait would have lasted 16 s; connection 1 registers 50 ms after it dialled.
    assert starts[0] == [0, 7.05, 11.05, 19.05, 22.15]


async def test_change_of_the_network_wakes_everyone_who_waits() -> None:
    async def main() -> World:
        world = World({0: [Step(UNREACHABLE, after=0.0)] * 5 + [UP]})
        running = asyncio.create_task(world.run_for(200))
        await asyncio.sleep(40)  # in a wait of 32 s
        world.supervisor.network_changed()
        await running
        return world

    assert (await main()).starts[5] == 40.0


async def test_change_of_the_network_does_not_shorten_what_the_edge_asked_for() -> None:
    async def main() -> World:
        world = World({0: [Step(refused(retry_after=50)), UP]})
        running = asyncio.create_task(world.run_for(200))
        await asyncio.sleep(10)
        world.supervisor.network_changed()
        await running
        return world

    assert (await main()).starts[1] == pytest.approx(50.1)


async def test_waits_without_a_route_are_short() -> None:
    world = await run({0: [Step(NO_ROUTE, after=0.0)] * 8}, 60)
    gaps = [later - earlier for earlier, later in zip(world.starts, world.starts[1:], strict=False)]
    assert max(gaps[:7]) <= NO_ROUTE_SECONDS


async def test_a_connection_is_made_again_on_demand_and_not_sooner() -> None:
    async def main() -> World:
        world = World({}, count=2, random=0.5)
        task = asyncio.create_task(world.supervisor.run())
        await asyncio.sleep(1)
        assert world.supervisor.reconnect(15.0)
        await asyncio.sleep(0.5)
        assert world.tracker.connected == 1
        world.supervisor.network_changed()  # which ends every other wait
        await asyncio.sleep(10)
        assert world.tracker.connected == 1
        await asyncio.sleep(10)
        assert world.tracker.connected == 2
        await world.supervisor.drain(1)
        assert not world.supervisor.reconnect(0.0)
        await task
        return world

    world = await main()
    # Its own wait of up to 2 s comes on top, as in the reference.
    assert world.starts == [0, 0.05, 17.0]


async def test_a_dead_path_is_left_for_another_address() -> None:
    async def main() -> World:
        world = World({}, count=2, addresses=(A, B, ("192.0.2.3", 7844)), random=0.0)
        task = asyncio.create_task(world.supervisor.run())
        await asyncio.sleep(1)
        assert world.supervisor.leave(1, "dead")
        assert not world.supervisor.leave(1, "dead"), "once is enough"
        await asyncio.sleep(1)
        assert world.tracker.connected == 2
        await world.supervisor.drain(1)
        assert not world.supervisor.leave(0, "dead")
        await task
        return world

    world = await main()
    before, after = [plan.address for _, plan in world.plans if plan.index == 1]
    assert before != after
    assert "dead" in [event.reason for event in world.events if isinstance(event, Disconnected)]


async def test_a_collapsed_path_is_left_once_its_requests_ended() -> None:
    async def main() -> World:
        world = World({}, count=2, addresses=(A, B, ("192.0.2.3", 7844)), drain_seconds=5.0)
        task = asyncio.create_task(world.supervisor.run())
        await asyncio.sleep(1)
        assert world.supervisor.move(1, 30.0)
        assert not world.supervisor.move(1, 30.0)
        await asyncio.sleep(10)
        assert world.tracker.connected == 2
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return world

    world = await main()
    assert world.drained == [1]
    before, after = [plan.address for _, plan in world.plans if plan.index == 1]
    assert before != after
    assert world.starts[-1] == 6.0


async def test_the_only_connection_is_left_by_nobody() -> None:
    world = World({})
    task = asyncio.create_task(world.supervisor.run())
    await asyncio.sleep(1)
    assert not world.supervisor.leave(0, "dead")
    assert not world.supervisor.move(0, 1.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
