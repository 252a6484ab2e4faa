"""`python -m bench`: measure the connector on each engine, and a peer binary beside it where one is named."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

from bench.report import Report, about
from bench.rows import QUICK, SECTIONS, Plan
from bench.subject import Subject

ROOT = Path(__file__).resolve().parent.parent


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("aioquic", "qh3"), help="default: every installed one")
    parser.add_argument("--peer", metavar="PATH", help="a cloudflared binary to measure beside, in alternating runs")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each subject; medians are printed")
    parser.add_argument("--section", action="append", choices=tuple(SECTIONS), help="default: all")
    parser.add_argument("--congestion-control", default="auto", help="for the aioquic engine")
    parser.add_argument("--edge-engine", default="aioquic", choices=("aioquic", "qh3"), help="of the local edge")
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer rows")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> Report:
    """Every round of every subject, in turn."""
    engines = arguments.engine or ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
    subjects = [Subject(engine, engine=engine, congestion_control=arguments.congestion_control) for engine in engines]
    if arguments.peer:
        subjects.append(Subject("peer", peer=str(Path(arguments.peer).resolve())))
    plan = replace(QUICK if arguments.quick else Plan(), edge_engine=arguments.edge_engine)
    report = Report([subject.name for subject in subjects])
    for turn in range(arguments.rounds):
        for name in arguments.section or SECTIONS:
            for subject in subjects:
                print(f"round {turn + 1} of {arguments.rounds}: {subject.name}, {name}", file=sys.stderr, flush=True)
                report.add(subject.name, await SECTIONS[name](subject, plan))
    return report


def main() -> None:
    """Measure, print, write."""
    arguments = parsed()
    report = asyncio.run(run(arguments))
    print(json.dumps(about(), indent=1), report.table(), sep="\n\n")
    report.write(arguments.json)


if __name__ == "__main__":
    main()
