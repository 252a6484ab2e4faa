"""What is measured: each section sets its subjects up, measures them in turn, and reports rows of figures.

Subjects of one section are connected at the same time and measured in alternating slices, so that what else the machine
does in the meantime falls on all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.house.stage import set_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from bench.house.stage import Stage
    from bench.house.subject import Subject

MIB = 1024 * 1024
DOWN = UP = 10 * MIB

#: One figure: name, value, unit.
Figure = tuple[str, float, str]
#: Takes a subject's name, a row's name, and the figures of one run.
Report: TypeAlias = "Callable[[str, str, Iterable[Figure]], None]"
Section: TypeAlias = "Callable[[Sequence[Subject], Plan, Report], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is."""

    rounds: int = 3
    seconds: float = 3.0
    starts: int = 5
    held: tuple[int, ...] = (1000, 10_000)
    loss: tuple[float, ...] = (0.0, 0.001, 0.01, 0.03)
    edge_engine: str = "aioquic"
    connections: tuple[int, ...] = (1,)
    counting: float = 0.5
    "Seconds of load for the count of system calls; 0 for none."

    def duration(self, section: str, subjects: int) -> float:
        """About how many seconds a section takes."""
        slices = self.rounds * (self.seconds + 0.1) + (self.counting + 1.0 if self.counting else 0.0)
        steady = {"requests": _REQUESTS, "transfers": _TRANSFERS, "messages": _MESSAGES, "http2": _HTTP2}
        if section in steady:
            return subjects * len(self.connections) * (len(steady[section]) * slices + 3.0)
        if section == "start":
            return subjects * (self.rounds * self.starts + 1) * 0.4
        if section == "memory":
            return subjects * self.rounds * (3.0 + sum(self.held) / 2000)
        return subjects * self.rounds * len(self.loss) * 8.0


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of load on a clean path."""

    name: str
    command: dict[str, Any]
    figures: Callable[[dict[str, Any]], Iterator[Figure]]
    needs_tcp: bool = False


def _per_unit(figures: dict[str, Any]) -> Iterator[Figure]:
    count = max(1, figures["count"])
    yield "p50", figures.get("p50", 0.0) * 1e3, "ms"
    yield "p99", figures.get("p99", 0.0) * 1e3, "ms"
    yield "rate", figures.get("rate", 0.0), "per s"
    yield "CPU per unit", figures["cpu"] / count * 1e6, "us"
    for name in ("edge", "origin"):
        yield f"CPU per unit, {name}", figures["spent"][name] / count * 1e6, "us"
    yield from _shares(figures, count, "unit")
    yield "failures", figures["failures"], ""


def _shares(figures: dict[str, Any], count: float, unit: str) -> Iterator[Figure]:
    """What the network carried for each unit, and how much of a core each process had: 1 is all that one process
    without workers can have."""
    if figures["datagrams_out"]:  # none over HTTP/2
        yield f"datagrams out per {unit}", figures["datagrams_out"] / count, ""
        yield f"datagrams in per {unit}", figures["datagrams_in"] / count, ""
    for name, share in figures["busy"].items():
        yield f"cores, {name}", share, ""


def _per_megabyte(figures: dict[str, Any]) -> Iterator[Figure]:
    megabytes = max(1e-9, figures.get("bytes", 0) / 1e6)
    yield "rate", megabytes / figures["elapsed"], "MB/s"
    yield "CPU per MB", figures["cpu"] / megabytes * 1e3, "ms"
    yield "CPU per MB, edge", figures["spent"]["edge"] / megabytes * 1e3, "ms"
    yield from _shares(figures, megabytes, "MB")
    yield "failures", figures["failures"], ""


def _first_byte(figures: dict[str, Any]) -> Iterator[Figure]:
    for figure in _per_unit(figures):
        if figure[0] != "rate":  # how fast the origin ends its stream
            yield figure


_REQUESTS = [
    Row(f"HTTP 1 KiB, {n} in flight", {"do": "download", "size": 1024, "in_flight": n}, _per_unit) for n in (1, 16, 64)
]
_TRANSFERS = [
    Row(f"10 MiB {way}, {n} in flight", {"do": f"{way}load", "size": size, "in_flight": n}, _per_megabyte)
    for n in (1, 4)
    for way, size in (("down", DOWN), ("up", UP))
]
_HTTP2 = [replace(row, name=f"over HTTP/2: {row.name}") for row in (*_REQUESTS, *_TRANSFERS)]
_REQUESTS.append(Row("streamed response, first byte", {"do": "first_byte"}, _first_byte))
_MESSAGES = [
    Row(f"{kind} 64 B ping-pong, {n} in flight", {"do": "ping_pong", "in_flight": n}, _per_unit, kind == "TCP")
    for n in (1, 32)
    for kind in ("TCP", "WebSocket")
]


async def starts(subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
    """From the start of the process to its first registration. The first start of each is not counted."""
    async with contextlib.AsyncExitStack() as stack:
        stages = [await _prepared(stack, subject, plan, start=False) for subject in subjects]
        for turn in range(plan.rounds * plan.starts + 1):
            for stage in stages:
                await stage.start(1)
                figures = (("time", stage.start_seconds * 1e3, "ms"), ("CPU", stage.start_cpu * 1e3, "ms"))
                if turn:
                    report(stage.subject.name, "start to registered", figures)
                await stage.stop()
                await stage.edge.ask(do="drop")


async def memory(subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
    """Resident memory of fresh connectors, idle and with held streams."""
    for _ in range(plan.rounds):
        for subject in subjects:
            async with set_up(subject, connections=1, edge_engine=plan.edge_engine) as stage:
                await asyncio.sleep(1.0)
                idle = stage.resident()
                report(subject.name, "resident memory, idle", [("resident", idle / 1e6, "MB")])
                held = 0
                for streams in plan.held:
                    await stage.edge.ask(do="hold", streams=streams - held, destination=stage.tcp_destination)
                    held = streams
                    await asyncio.sleep(0.5)
                    per_stream = (stage.resident() - idle) / streams
                    row = f"resident memory per held stream, {streams} held"
                    report(subject.name, row, [("resident", per_stream / 1e3, "kB")])


async def lossy_path(subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
    """30 ms RTT and random loss, 10 MiB down: a fresh connection for each run."""
    for turn in range(plan.rounds):
        for loss in plan.loss:
            for subject in subjects:
                # Not started before: the connection would know a path without delay, and paths do not grow so long.
                engine = plan.edge_engine
                async with set_up(subject, connections=1, edge_engine=engine, relay=True, start=False) as stage:
                    await stage.edge.ask(do="faults", delay=0.015, loss=loss, seed=7 + turn)
                    await stage.start(1)
                    figures = await stage.measured(do="download", size=DOWN, in_flight=1, count=1)
                    report(subject.name, f"30 ms RTT, {loss:.1%} loss, 10 MiB down", _per_megabyte(figures))


async def over_http2(subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
    """The HTTP/2 transport, of ours in the first column whatever its engine, and of a peer."""
    ours = next((replace(each, engine="http2") for each in subjects if not each.peer), None)
    pair = [*([ours] if ours else []), *(replace(each, transport="http2") for each in subjects if each.peer)]
    await _steady(_HTTP2)(pair, replace(plan, edge_engine="http2"), report)


def _steady(rows: Sequence[Row]) -> Section:
    """A section of rows that share one connection per subject."""

    async def section(subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
        for connections in plan.connections:
            async with contextlib.AsyncExitStack() as stack:
                stages = [await _prepared(stack, subject, plan, connections=connections) for subject in subjects]
                for stage in stages:
                    await stage.edge.ask(do="download", size=1024, in_flight=16, seconds=min(0.5, plan.seconds))
                for row in rows:
                    name = row.name if connections == 1 else f"{row.name}, {connections} connections"
                    await _measure(stages, row, name, plan, report)

    return section


async def _measure(stages: Sequence[Stage], row: Row, name: str, plan: Plan, report: Report) -> None:
    def command(stage: Stage, seconds: float) -> dict[str, Any]:
        destination = {"destination": stage.tcp_destination} if row.needs_tcp else {}
        return row.command | destination | {"seconds": seconds}

    for _ in range(plan.rounds):
        for stage in stages:
            report(stage.subject.name, name, row.figures(await stage.measured(**command(stage, plan.seconds))))
    for stage in stages if plan.counting else ():
        calls = await stage.system_calls(**command(stage, plan.counting))
        if calls is not None:
            report(stage.subject.name, name, [("system calls per unit", calls, "")])


async def _prepared(
    stack: contextlib.AsyncExitStack, subject: Subject, plan: Plan, *, start: bool = True, connections: int = 1
) -> Stage:
    return await stack.enter_async_context(
        set_up(subject, connections=connections, edge_engine=plan.edge_engine, start=start)
    )


SECTIONS: dict[str, Section] = {
    "start": starts,
    "memory": memory,
    "requests": _steady(_REQUESTS),
    "transfers": _steady(_TRANSFERS),
    "messages": _steady(_MESSAGES),
    "http2": over_http2,
    "loss": lossy_path,
}
