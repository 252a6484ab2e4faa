"""What is measured of one subject: each row is a name, the load, and the figures taken from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.stage import set_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bench.stage import Stage
    from bench.subject import Subject

MIB = 1024 * 1024
DOWN = UP = 10 * MIB

#: One figure: name, value, unit.
Figure = tuple[str, float, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is."""

    seconds: float = 3.0
    held: tuple[int, ...] = (1000, 10_000)
    loss: tuple[float, ...] = (0.0, 0.001, 0.01, 0.03)
    edge_engine: str = "aioquic"


QUICK = Plan(seconds=1.0, held=(1000,), loss=(0.01,))


def _per_unit(figures: dict[str, Any]) -> Iterator[Figure]:
    count = max(1, figures["count"])
    yield "p50", figures.get("p50", 0.0) * 1e3, "ms"
    yield "p99", figures.get("p99", 0.0) * 1e3, "ms"
    yield "rate", figures.get("rate", 0.0), "per s"
    yield "CPU per unit", figures["cpu"] / count * 1e6, "us"
    yield "failures", figures["failures"], ""


def _per_megabyte(figures: dict[str, Any]) -> Iterator[Figure]:
    megabytes = max(1e-9, figures.get("bytes", 0) / 1e6)
    yield "rate", megabytes / figures["elapsed"], "MB/s"
    yield "CPU per MB", figures["cpu"] / megabytes * 1e3, "ms"
    yield "failures", figures["failures"], ""


async def _steady(stage: Stage, plan: Plan) -> dict[str, list[Figure]]:
    """The rows that share one connection on a clean path."""
    seconds = plan.seconds
    await stage.edge.ask(do="download", size=1024, in_flight=16, seconds=0.5)
    rows: dict[str, list[Figure]] = {}
    for in_flight in (1, 16, 64):
        figures = await stage.measured(do="download", size=1024, in_flight=in_flight, seconds=seconds)
        rows[f"HTTP 1 KiB, {in_flight} in flight"] = list(_per_unit(figures))
    for in_flight in (1, 4):
        figures = await stage.measured(do="download", size=DOWN, in_flight=in_flight, seconds=seconds)
        rows[f"10 MiB down, {in_flight} in flight"] = list(_per_megabyte(figures))
        figures = await stage.measured(do="upload", size=UP, in_flight=in_flight, seconds=seconds)
        rows[f"10 MiB up, {in_flight} in flight"] = list(_per_megabyte(figures))
    for in_flight in (1, 32):
        figures = await stage.measured(
            do="ping_pong", in_flight=in_flight, seconds=seconds, destination=stage.tcp_destination
        )
        rows[f"TCP 64 B ping-pong, {in_flight} in flight"] = list(_per_unit(figures))
        figures = await stage.measured(do="ping_pong", in_flight=in_flight, seconds=seconds)
        rows[f"WebSocket 64 B, {in_flight} in flight"] = list(_per_unit(figures))
    figures = await stage.measured(do="first_byte", seconds=seconds)
    rows["streamed response, first byte"] = list(_per_unit(figures))
    return rows


async def _memory(stage: Stage, plan: Plan) -> dict[str, list[Figure]]:
    """Resident memory of a fresh connector, idle and with held streams. Comes before the load of other rows."""
    idle = stage.resident()
    rows = {"resident memory, idle": [("resident", idle / 1e6, "MB")]}
    held = 0
    for streams in plan.held:
        await stage.edge.ask(do="hold", streams=streams - held, destination=stage.tcp_destination)
        held = streams
        await asyncio.sleep(0.5)
        per_stream = (stage.resident() - idle) / streams
        rows[f"resident memory per held stream, {streams} held"] = [("resident", per_stream / 1e3, "kB")]
    await stage.edge.ask(do="release")
    return rows


async def clean_path(subject: Subject, plan: Plan) -> dict[str, list[Figure]]:
    """Start, memory and steady rows: two fresh connectors."""
    async with set_up(subject, connections=1, edge_engine=plan.edge_engine) as stage:
        rows = {"start to registered": [("time", stage.start_seconds * 1e3, "ms")]}
        await asyncio.sleep(1.0)
        rows |= await _memory(stage, plan)
    async with set_up(subject, connections=1, edge_engine=plan.edge_engine) as stage:
        rows |= await _steady(stage, plan)
    return rows


async def lossy_path(subject: Subject, plan: Plan) -> dict[str, list[Figure]]:
    """30 ms RTT and random loss, 10 MiB down: a fresh connection for each loss rate."""
    rows: dict[str, list[Figure]] = {}
    for loss in plan.loss:
        async with set_up(subject, connections=1, edge_engine=plan.edge_engine, relay=True) as stage:
            await stage.edge.ask(do="faults", delay=0.015, loss=loss, seed=7)
            figures = await stage.measured(do="download", size=DOWN, in_flight=1, count=1)
            rows[f"30 ms RTT, {loss:.1%} loss, 10 MiB down"] = list(_per_megabyte(figures))
    return rows


SECTIONS: dict[str, Callable[[Subject, Plan], Awaitable[dict[str, list[Figure]]]]] = {
    "clean": clean_path,
    "loss": lossy_path,
}
