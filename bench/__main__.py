"""`python -m bench`: measure the connector on each engine, and a peer binary beside it where one is named."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.process import raise_file_limit
from bench.report import Report, about
from bench.rows import SECTIONS, Plan
from bench.subject import Subject

ROOT = Path(__file__).resolve().parent.parent
QUICK = Plan(rounds=1, seconds=1.0, starts=3, held=(1000,), loss=(0.01,))


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
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer rows")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    arguments = parser.parse_args()
    arguments.engine = arguments.engine or list(engines)
    return arguments


async def run(arguments: argparse.Namespace) -> Report:
    """Every section, for every subject in turn."""
    subjects = [
        Subject(engine, engine=engine, congestion_control=arguments.congestion_control) for engine in arguments.engine
    ]
    if arguments.peer:
        subjects.append(Subject("peer", peer=str(Path(arguments.peer).resolve())))
    plan = replace(QUICK if arguments.quick else Plan(), edge_engine=arguments.edge_engine)
    for name in ("rounds", "seconds"):
        if getattr(arguments, name) is not None:
            plan = replace(plan, **{name: getattr(arguments, name)})
    report = Report([subject.name for subject in subjects])
    for name in arguments.section or SECTIONS:
        print(f"{name}: {', '.join(subject.name for subject in subjects)}", file=sys.stderr, flush=True)
        await SECTIONS[name](subjects, plan, report.add)
    return report


def main() -> None:
    """Measure, print, write."""
    arguments = parsed()
    raise_file_limit()
    peer = Subject("peer", peer=arguments.peer).version() if arguments.peer else None
    Subject("ours").version()  # fills the bytecode cache
    report = asyncio.run(run(arguments))
    facts = about(peer)
    print(json.dumps(facts, indent=1), report.table(), sep="\n\n")
    report.write(arguments.json, facts)


if __name__ == "__main__":
    main()
