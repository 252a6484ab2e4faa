"""`python -m bench`: measure the connector on each engine, and a peer binary beside it where one is named."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.process import raise_file_limit
from bench.figures.report import Report, about
from bench.house.subject import Subject
from bench.sections.rows import SECTIONS, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.sections.rows import Figure

ROOT = Path(__file__).resolve().parent.parent
QUICK = Plan(rounds=1, seconds=0.7, starts=3, held=(1000,), loss=(0.01,), counting=0.0)
QUICK_SECTIONS = ("requests", "transfers", "messages")


def parsed() -> argparse.Namespace:
    """The command line."""
    engines = ("aioquic", "qh3") if find_spec("qh3") else ("aioquic",)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--engine", action="append", choices=engines, help="default: every installed one")
    parser.add_argument("--peer", metavar="PATH", help="a cloudflared binary to measure beside, in alternating runs")
    parser.add_argument("--rounds", type=int, help="runs of each subject; medians are printed (default 3)")
    parser.add_argument("--seconds", type=float, help="of each run (default 3)")
    parser.add_argument("--section", action="append", choices=tuple(SECTIONS), help="default: all")
    parser.add_argument("--congestion-control", default="auto", help="for the aioquic engine")
    parser.add_argument(
        "--edge-engine", default=engines[-1], choices=engines, help="of the local edge, the same for every subject"
    )
    parser.add_argument("--connections", type=int, action="append", help="of the connector; repeatable (default 1)")
    parser.add_argument("--workers", type=int, action="append", help="processes of ours; repeatable (default 1)")
    parser.add_argument("--quick", action="store_true", help="shorter runs and fewer rows, on one engine: a minute")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    arguments = parser.parse_args()
    arguments.engine = arguments.engine or list(engines[-1:] if arguments.quick else engines)
    arguments.section = arguments.section or list(QUICK_SECTIONS if arguments.quick else SECTIONS)
    return arguments


def planned(arguments: argparse.Namespace) -> tuple[list[Subject], Plan]:
    """Who is measured, and how thoroughly."""
    subjects = [
        Subject(
            engine if workers == 1 else f"{engine}, {workers} workers",
            engine=engine,
            congestion_control=arguments.congestion_control,
            workers=workers,
        )
        for engine in arguments.engine
        for workers in arguments.workers or [1]
    ]
    if arguments.peer:
        subjects.append(Subject("peer", peer=str(Path(arguments.peer).resolve())))
    plan = replace(QUICK if arguments.quick else Plan(), edge_engine=arguments.edge_engine)
    for name in ("rounds", "seconds"):
        if getattr(arguments, name) is not None:
            plan = replace(plan, **{name: getattr(arguments, name)})
    if arguments.connections:
        plan = replace(plan, connections=tuple(arguments.connections))
    return subjects, plan


async def run(sections: Sequence[str], subjects: Sequence[Subject], plan: Plan, report: Report) -> None:
    """Every section, for every subject in turn; each row is shown once it is measured. Cancel at any time."""

    def add(subject: str, row: str, figures: Iterable[Figure]) -> None:
        if done := report.show_row(row):
            print(done, file=sys.stderr, flush=True)
        print(f"... {row}: {subject}", file=sys.stderr, flush=True)
        report.add(subject, row, figures)

    seconds = {name: plan.duration(name, len(subjects)) for name in sections}
    print(f"about {sum(seconds.values()) / 60:.1f} minutes", file=sys.stderr, flush=True)
    for name in sections:
        names = ", ".join(subject.name for subject in subjects)
        print(f"{name}: {names}, about {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        await SECTIONS[name](subjects, plan, add)
    if done := report.show_row(None):
        print(done, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write: after an interrupt what was measured till then."""
    arguments = parsed()
    raise_file_limit()
    peer = Subject("peer", peer=arguments.peer).version() if arguments.peer else None
    Subject("ours").version()  # fills the bytecode cache
    subjects, plan = planned(arguments)
    report = Report([subject.name for subject in subjects])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(arguments.section, subjects, plan, report))
    facts = about(peer)
    print(json.dumps(facts, indent=1), report.table(), sep="\n\n")
    report.write(arguments.json, facts)


if __name__ == "__main__":
    main()
