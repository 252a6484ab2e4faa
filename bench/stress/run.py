"""One run: a house, a crowd, disturbances, in rounds; after each, everything has to be back where it began."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.stress.disturbances import disturb
from bench.stress.house import House, HouseOptions, Origins
from bench.stress.ledger import Ledger, Listener
from bench.stress.patience import Patience
from bench.stress.plan import KINDS
from bench.stress.workers import Crowd
from tests.support.loop.leaks import Holdings, holdings, live_objects, resident_bytes

#: Seconds that sockets, tasks and streams have to go by themselves once the last visitor is gone.
SETTLE = 15.0
#: Objects and bytes that may be more after the last round than after the first, which fills what is kept for good.
MORE_OBJECTS = 10_000
MORE_MEMORY = 48 << 20
LOOPS = ("asyncio", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is run, and how much of it."""

    house: HouseOptions = field(default_factory=HouseOptions)
    loop: str = "asyncio"
    seed: int = 1
    rounds: tuple[float, ...] = (1.0, 2.0)
    "Seconds of traffic in each round."
    visits: int = 1_000_000
    "At most so many, in all."
    kinds: tuple[str, ...] = tuple(KINDS)
    leavers: float = 0.4
    disturbed: bool = True


@dataclass(slots=True)
class Outcome:
    """What came out of one run."""

    options: RunOptions
    ledger: Ledger
    seconds: float = 0.0
    objects: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    latest: float = 0.0
    "Seconds that the event loop was late, at the worst: how starved the machine was."

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.ledger.found


def run(options: RunOptions) -> Outcome:
    """Run once, in an event loop of its own, and say what came out. Bounded by the rounds and `visits`."""
    outcome = Outcome(options, Ledger())
    listener = Listener(outcome.ledger)
    logger = logging.getLogger()  # the transports' and asyncio's too
    logger.addHandler(listener)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(options, outcome, listener))
    finally:
        logger.removeHandler(listener)
    return outcome


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.SelectorEventLoop


async def _run(options: RunOptions, outcome: Outcome, listener: Listener) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(listener.from_loop)
    began, ledger, patience = loop.time(), outcome.ledger, Patience()
    async with patience.running():
        before = holdings()
        async with Origins(ledger, announces=options.house.workers > 1) as origins:
            house = House(options.house, origins, patience)
            await house.start()
            try:
                await _rounds(options, outcome, house, origins)
            finally:
                await house.stop()
        await _settled(lambda: _more_than(before), "after the end", ledger, patience)
    outcome.latest = patience.latest
    outcome.seconds = loop.time() - began


async def _rounds(options: RunOptions, outcome: Outcome, house: House, origins: Origins) -> None:
    ledger, loop = outcome.ledger, asyncio.get_running_loop()
    held, streams = holdings(), house.streams()

    def left_over() -> str:
        found = [f"{count} {name}" for name, count in house.busy().items()]
        found += [f"{count} connections to the {name} origin" for name, count in origins.held().items()]
        if (now := house.streams()) > streams:
            found.append(f"{now - streams} streams")
        return ", ".join([*found, *filter(None, [_more_than(held)])])

    first = 0
    for number, seconds in enumerate(options.rounds):
        ends = loop.time() + seconds

        def goes_on(ends: float = ends) -> bool:
            return loop.time() < ends and ledger.visits < options.visits

        crowd = Crowd(house, ledger, options.seed, options.leavers, house.patience, options.kinds, goes_on, first)
        first = await _traffic(options, crowd, house, goes_on)
        await _settled(left_over, f"after round {number + 1}", ledger, house.patience)
        outcome.objects.append(live_objects())
        outcome.memory.append(resident_bytes())
    _judge_growth(outcome)


async def _traffic(options: RunOptions, crowd: Crowd, house: House, goes_on: Callable[[], bool]) -> int:
    disturbing = None
    if options.disturbed:
        disturbing = asyncio.create_task(
            disturb(house, crowd.ledger, options.seed + crowd.first, goes_on), name="stress disturbances"
        )
    try:
        first = await crowd.run()
        if disturbing is not None:
            await disturbing
        return first
    finally:
        if disturbing is not None:
            disturbing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await disturbing


def _more_than(before: Holdings) -> str:
    return holdings().more_than(before)


async def _settled(left_over: Callable[[], str], when: str, ledger: Ledger, patience: Patience) -> None:
    if not await patience.until(lambda: not left_over(), SETTLE) and (left := left_over()):
        ledger.finding(f"left behind {when}: {left}")


def _judge_growth(outcome: Outcome) -> None:
    objects, memory = outcome.objects[-1] - outcome.objects[0], outcome.memory[-1] - outcome.memory[0]
    if objects > MORE_OBJECTS:
        outcome.ledger.finding(f"grown since the first round: {objects} objects ({outcome.objects})")
    if memory > MORE_MEMORY:
        outcome.ledger.finding(f"grown since the first round: {memory >> 20} MiB of memory")
