"""`python -m bench.bounds`: how far the connector's memory grows when a far end hardly reads, and what neighbours feel.

A 1 GiB upload to an origin that reads 1 MiB/s and a 1 GiB download by a visitor who reads 1 MiB/s are offered for some
seconds each; resident memory is sampled all the while. The bounds of docs/performance.md: 16 MiB for one stream, 64 MiB
for a connection with 100 of them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.stage import set_up
from bench.subject import Subject

if TYPE_CHECKING:
    from bench.stage import Stage

MIB = 1024 * 1024
STREAM_BOUND = 16 * MIB
CONNECTION_BOUND = 64 * MIB


@dataclass(frozen=True, slots=True)
class Growth:
    """What one case cost."""

    case: str
    streams: int
    growth: int
    idle_p99: float
    neighbour_p99: float
    neighbours: int

    @property
    def bound(self) -> int:
        """Bytes of growth that are allowed."""
        return STREAM_BOUND if self.streams == 1 else CONNECTION_BOUND

    def __str__(self) -> str:
        return (
            f"| {self.case} | {self.streams} | {self.growth / MIB:.1f} of {self.bound // MIB} MiB "
            f"| {self.idle_p99 * 1e3:.2f} ms | {self.neighbour_p99 * 1e3:.2f} ms ({self.neighbours}) |"
        )


async def measure(engine: str, case: str, streams: int, *, seconds: float) -> Growth:
    """Offer `streams` slow exchanges of `case` (upload, download or echo) on one connection of a fresh connector."""
    async with set_up(Subject(engine, engine=engine), connections=1, edge_engine="aioquic") as stage:
        # The first traffic fills pools and caches that stay for good: they are not what a slow reader costs.
        await stage.edge.ask(do="download", size=1024, in_flight=64, seconds=0.5)
        await stage.edge.ask(do="download", size=4 * MIB, in_flight=2, seconds=0.5)
        await stage.edge.ask(do="upload", size=4 * MIB, in_flight=2, seconds=0.5)
        idle = await stage.edge.ask(do="slow", case="idle", streams=0, seconds=1.5, destination="")
        before = stage.resident()
        work = asyncio.ensure_future(
            stage.edge.ask(do="slow", case=case, streams=streams, seconds=seconds, destination=stage.tcp_destination)
        )
        peak = await _peak(stage, work)
        figures: dict[str, Any] = await work
    return Growth(case, streams, peak - before, idle["p99"], figures.get("p99", float("inf")), figures["count"])


async def _peak(stage: Stage, work: asyncio.Future[dict[str, Any]]) -> int:
    peak = stage.resident()
    while not work.done():
        await asyncio.wait((work,), timeout=0.05)
        peak = max(peak, stage.resident())
    return peak


def main() -> None:
    """Every case on every engine."""
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("aioquic", "qh3"))
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each case is offered")
    arguments = parser.parse_args()
    engines = arguments.engine or ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
    for engine in engines:
        print(f"\n{engine}\n\n| case | streams | growth | neighbour p99, idle | beside |\n|---|---|---|---|---|")
        for case in ("upload", "download", "echo"):
            for streams in (1, 100):
                print(asyncio.run(measure(engine, case, streams, seconds=arguments.seconds)), flush=True)


if __name__ == "__main__":
    main()
