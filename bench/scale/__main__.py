"""`python -m bench.scale`: how memory and CPU time grow with idle and busy streams, rules and visitors.

Prints a table and, with `--picture FILE`, draws the curves. Figures are CPU time of one process by what it did, and
resident memory: both say something on a machine that has other things to do too, where rates do not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.process import raise_file_limit
from bench.scale import curves
from bench.scale.picture import picture

if TYPE_CHECKING:
    from bench.scale.curves import Curve

#: By name: what makes the curves, and the numbers, of which `--share` takes a part.
SECTIONS = {
    "held": (curves.held_streams, (0, 10, 100, 1000, 10_000)),
    "busy": (curves.busy_streams, (1, 4, 16, 64, 256, 1000)),
    "rules": (curves.rules, (1, 10, 100, 1000)),
    "visitors": (curves.visitors, (100, 300, 1000, 3000, 10_000)),
}


def table(found: list[Curve]) -> str:
    """The curves as Markdown."""
    lines = ["| figure | by number | last / first |", "|---|---|---|"]
    for curve in found:
        points = ", ".join(f"{number:,}: {value:.3g}" for number, value in curve.points)
        lines.append(f"| {curve.title}, {curve.unit} | {points} | {curve.growth():.2f} |")
    return "\n".join(lines)


async def run(sections: list[str], share: float, effort: curves.Effort) -> list[Curve]:
    """Measure the sections one after the other. Cancel at any time."""
    found: list[Curve] = []
    for name in sections:
        print(f"... {name}", file=sys.stderr, flush=True)
        make, numbers = SECTIONS[name]
        found += await make(sorted({min(number, max(1, int(number * share))) for number in numbers}), effort)
    return found


def main() -> None:
    """Measure, print, draw."""
    engines = ("aioquic", "qh3") if find_spec("qh3") else ("aioquic",)
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--engine", choices=engines, default=engines[-1], help="of connector and edge")
    parser.add_argument("--section", action="append", choices=tuple(SECTIONS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of each point; medians are shown")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice of load")
    parser.add_argument("--share", type=float, default=1.0, help="part of the numbers, for a quick look")
    parser.add_argument("--picture", type=Path, help="the SVG file to write")
    arguments = parser.parse_args()
    raise_file_limit()
    effort = curves.Effort(arguments.engine, arguments.rounds, arguments.seconds)
    found = asyncio.run(run(arguments.section or list(SECTIONS), arguments.share, effort))
    print(table(found))
    if arguments.picture:
        arguments.picture.write_text(picture(found))


if __name__ == "__main__":
    main()
