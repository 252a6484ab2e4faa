"""The four curves: each point is the median of several rounds, which go through all numbers in turn."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.figures.process import cpu_seconds, resident_bytes
from bench.house.stage import set_up
from bench.house.subject import Subject
from bench.scale.visitors import Visitors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.house.stage import Stage

SMALL = {"do": "download", "size": 1024, "in_flight": 16}
#: Requests in flight at the edge's visitors.
ASKING = 16
#: Streams from which on the memory of each can be told from what else moves.
LEAST_HELD = 100
#: Seconds that memory has to settle.
SETTLE = 0.5


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure against one number."""

    title: str
    unit: str
    points: list[tuple[int, float]]

    def growth(self) -> float:
        """How many times the figure is at the largest number what it is at the smallest."""
        return self.points[-1][1] / max(1e-9, self.points[0][1])


@dataclass(frozen=True, slots=True)
class Effort:
    """How thorough a run is."""

    engine: str
    rounds: int
    seconds: float
    "Of each slice of load."


async def held_streams(numbers: Sequence[int], effort: Effort) -> list[Curve]:
    """Idle streams of the private network: memory, and what a request beside them takes. Cancel at any time."""
    memory, requests = [], []
    async with _stage(effort) as stage:
        await stage.measured(**SMALL, seconds=effort.seconds)
        idle, held = stage.resident(), 0
        for number in numbers:
            await stage.edge.ask(do="hold", streams=number - held, destination=stage.tcp_destination)
            held = number
            await asyncio.sleep(SETTLE)
            if number >= LEAST_HELD:
                memory.append((number, (stage.resident() - idle) / number / 1e3))
            per_request = [await _per_unit(stage, SMALL, effort) for _ in range(effort.rounds)]
            requests.append((max(1, number), statistics.median(per_request)))
    return [
        Curve("connector: memory of an idle stream", "kB", memory),
        Curve("connector: CPU of a request beside idle streams", "µs", requests),
    ]


async def busy_streams(numbers: Sequence[int], effort: Effort) -> list[Curve]:
    """Streams that all send 64 bytes and wait for their echo: what a message takes. Cancel at any time."""

    async def measure(stage: Stage, number: int) -> float:
        # Two slices of different length, so that what opening the streams takes falls out.
        command = {"do": "ping_pong", "in_flight": number, "destination": stage.tcp_destination}
        short = await stage.measured(**command, seconds=effort.seconds / 2)
        long = await stage.measured(**command, seconds=effort.seconds * 2)
        return float((long["cpu"] - short["cpu"]) / max(1, long["count"] - short["count"]) * 1e6)

    async with _stage(effort) as stage:
        points = await _in_turn(numbers, effort, lambda number: measure(stage, number))
    return [Curve("connector: CPU of a message, by busy streams", "µs", points)]


async def rules(numbers: Sequence[int], effort: Effort) -> list[Curve]:
    """Rules with regular expressions, of which a request meets the last. Cancel at any time."""
    points = []
    for number in numbers:
        async with set_up(
            Subject(effort.engine, engine=effort.engine), connections=1, edge_engine=effort.engine, start=False
        ) as stage:
            config = stage.folder / "config.yaml"
            config.write_text(config.read_text().replace("ingress:\n", "ingress:\n" + _regular_expressions(number - 1)))
            await stage.start(1)
            await stage.measured(**SMALL, seconds=effort.seconds)
            values = [await _per_unit(stage, SMALL, effort) for _ in range(effort.rounds)]
            points.append((number, statistics.median(values)))
    return [Curve("connector: CPU of a request, by rules with a path", "µs", points)]


async def visitors(numbers: Sequence[int], effort: Effort) -> list[Curve]:
    """Visitors of the edge who stay connected and ask in turn. Cancel at any time."""
    memory, requests = [], []
    async with _stage(effort) as stage:
        host, port = stage.visitors
        crowd = Visitors(host, port)
        try:
            await crowd.grow(ASKING)
            await crowd.ask(ASKING, effort.seconds)
            idle = resident_bytes(stage.edge.pid)
            for number in numbers:
                await crowd.grow(number)
                values = []
                for _ in range(effort.rounds):
                    before = cpu_seconds(stage.edge.pid)
                    answered = await crowd.ask(ASKING, effort.seconds)
                    values.append((cpu_seconds(stage.edge.pid) - before) / max(1, answered) * 1e6)
                requests.append((number, statistics.median(values)))
                grown = resident_bytes(stage.edge.pid) - idle
                memory.append((number, max(0.0, grown / max(1, number - ASKING) / 1e3)))
        finally:
            crowd.close()
    return [
        Curve("edge: memory of a visitor that stays connected", "kB", memory),
        Curve("edge: CPU of a request, by visitors connected", "µs", requests),
    ]


def _stage(effort: Effort) -> Any:
    return set_up(Subject(effort.engine, engine=effort.engine), connections=1, edge_engine=effort.engine)


async def _per_unit(stage: Stage, command: dict[str, Any], effort: Effort) -> float:
    figures = await stage.measured(**command, seconds=effort.seconds)
    return float(figures["cpu"] / max(1, figures["count"]) * 1e6)


async def _in_turn(numbers: Sequence[int], effort: Effort, measure: Callable[[int], Any]) -> list[tuple[int, float]]:
    values: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(effort.rounds):
        for number in numbers:
            values[number].append(await measure(number))
    return [(number, statistics.median(values[number])) for number in numbers]


def _regular_expressions(count: int) -> str:
    return "".join(
        f"  - hostname: bench.test\n    path: ^/nowhere-{index}/[a-z]+/\\d+$\n    service: http_status:404\n"
        for index in range(count)
    )
