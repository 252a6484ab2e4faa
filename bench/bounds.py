"""`python -m bench.bounds`: how far the connector's memory grows when a far end hardly reads, and what neighbours feel.

Uploads of 1 GiB to an origin that reads 1 MiB/s, downloads of 1 GiB by visitors who read 1 MiB/s, and TCP streams whose
echo nobody reads are offered for some seconds each; resident memory is sampled all the while. The bounds are 16 MiB for
one stream and 64 MiB for a connection with 100 of them.

A far end takes its share 16 times a second, by a clock of its own: 100 that read in step would be something else, a
burst of 6 MiB at the machine's full speed every time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.house.stage import set_up
from bench.house.subject import Subject
from bench.loads.slow import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.house.stage import Stage

MIB = 1024 * 1024
STREAM_BOUND = 16 * MIB
CONNECTION_BOUND = 64 * MIB
#: Median of a neighbour's requests, in seconds, beyond which `--check` fails. In qh3 they wait behind a slow upload
#: that reached its bound (docs/performance.md), so there it is no bound.
NEIGHBOUR_MEDIAN = 0.5
CASES = ("upload", "download", "echo")
HEADER = """\
| case | streams | growth, MiB | bound, MiB | idle: p50 / p99, ms | beside: p50 / p99, ms | starved | given up |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Growth:
    """What one case cost. `idle` and `beside` are what a neighbour's requests took, see `slow.beside`."""

    case: str
    streams: int
    growth: int
    idle: dict[str, float]
    beside: dict[str, float]

    @property
    def bound(self) -> int:
        """Bytes of growth that are allowed."""
        return STREAM_BOUND if self.streams == 1 else CONNECTION_BOUND

    def __str__(self) -> str:
        figures = [f"{each[name] * 1e3:.1f}" for each in (self.idle, self.beside) for name in ("p50", "p99")]
        idle, beside = (" / ".join(pair) for pair in (figures[:2], figures[2:]))
        return (
            f"| {self.case} | {self.streams} | {self.growth / MIB:.1f} | {self.bound // MIB} | {idle} | {beside} | "
            f"{self.beside['starved']} | {self.beside['broken']} |"
        )


async def measure(
    engine: str,
    cases: Sequence[tuple[str, int]],
    *,
    pace: int = MIB,
    windows: int = 5,
    settle: float = 2.0,
    edge_engine: str = "aioquic",
    patience: float = PATIENCE,
) -> list[Growth]:
    """Offer each of `cases` (upload, download or echo, and how many) in turn on one connection of a fresh connector.

    Far ends take `pace` bytes a second. A neighbour's requests are timed for `windows` seconds before all of them, and
    as long beside each, from `settle` seconds on. Growth counts from before the first.
    """
    async with set_up(Subject(engine, engine=engine), connections=1, edge_engine=edge_engine) as stage:
        # The first traffic fills pools and caches that stay for good: they are not what a slow reader costs.
        await stage.edge.ask(do="download", size=1024, in_flight=64, seconds=0.5)
        await stage.edge.ask(do="download", size=MIB // 4, in_flight=1, count=8)
        await stage.edge.ask(do="upload", size=MIB // 4, in_flight=1, count=8)

        def offer(case: str, streams: int) -> asyncio.Future[dict[str, float]]:
            command = {"case": case, "streams": streams, "destination": stage.tcp_destination, "pace": pace}
            times = {"windows": windows, "settle": settle, "patience": patience}
            return asyncio.ensure_future(stage.edge.ask(do="slow", **times, **command))

        idle = await offer("idle", 0)
        before = stage.resident()
        found = []
        for case, streams in cases:
            work = offer(case, streams)
            peak = await _peak(stage, work)
            found.append(Growth(case, streams, peak - before, idle, await work))
        return found


async def _peak(stage: Stage, work: asyncio.Future[dict[str, float]]) -> int:
    peak = stage.resident()
    while not work.done():
        await asyncio.wait((work,), timeout=0.05)
        peak = max(peak, stage.resident())
    return peak


def main() -> None:
    """Every case on every engine."""
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("aioquic", "qh3"), help="default: every installed one")
    parser.add_argument("--edge-engine", default="aioquic", choices=("aioquic", "qh3"))
    parser.add_argument("--case", action="append", choices=CASES, help="default: all")
    parser.add_argument("--streams", action="append", type=int, help="default: 1 and 100")
    parser.add_argument("--pace", type=int, default=MIB, help="bytes that each far end takes per second")
    parser.add_argument("--settle", type=float, default=15.0, help="seconds until neighbours are looked at")
    parser.add_argument("--seconds", type=int, default=7, help="for how long a neighbour's requests are timed")
    parser.add_argument("--check", action="store_true", help="fail where a bound is passed or neighbours wait")
    arguments = parser.parse_args()
    passed = False
    engines = arguments.engine or ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
    for engine in engines:
        print(f"\n{engine} (edge: {arguments.edge_engine})\n\n{HEADER}")
        for case in arguments.case or CASES:
            for streams in arguments.streams or (1, 100):
                one = measure(
                    engine,
                    [(case, streams)],
                    pace=arguments.pace,
                    windows=arguments.seconds,
                    settle=arguments.settle,
                    edge_engine=arguments.edge_engine,
                )
                growth = asyncio.run(one)[0]
                print(growth, flush=True)
                slow = engine == "aioquic" and growth.beside["p50"] > NEIGHBOUR_MEDIAN
                passed = passed or slow or growth.growth > growth.bound
    if arguments.check and passed:
        sys.exit("a bound was passed, or neighbours waited too long")


if __name__ == "__main__":
    main()
