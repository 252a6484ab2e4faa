"""`python -m bench.micro`: what single steps of a request cost, in memory, without sockets, engines or a clock.

Prints the best time of several repeats. `--instructions` counts instructions instead, with valgrind where it is
installed: two runs of different length are compared, so that what a start costs falls out. That figure is the same on a
busy machine as on an idle one, and differs between builds of Python only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.sections.micro_steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
#: Runs of a step in one repeat.
RUNS = 20_000
#: Time of the runs by which two counted processes differ: what a start costs varies by a tenth of that in instructions.
COUNTED_NS = 30_000_000


def best_ns(step: Callable[[int], None], *, runs: int, repeats: int) -> float:
    """Nanoseconds of one run in the best repeat."""
    step(min(runs, 100))
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        step(runs)
        best = min(best, (time.perf_counter_ns() - begun) / runs)
    return best


def instructions(name: str) -> float:
    """Instructions of one run of a step, by the difference between two runs of a process.

    Raises:
        RuntimeError: valgrind does not count here.
    """
    few = 100
    many = few + int(COUNTED_NS / best_ns(STEPS[name](), runs=few, repeats=3))
    return (_counted(name, many) - _counted(name, few)) / (many - few)


def _counted(name: str, runs: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("counting instructions needs valgrind")
    with tempfile.NamedTemporaryFile(prefix="pyconnector-bench-") as out:
        answer = subprocess.run(
            [
                *(valgrind, "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out.name}"),
                *(sys.executable, "-m", "bench.micro", "--step", name, "--just-run", str(runs)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
    found = re.search(r"I\s+refs:\s+([\d,]+)", answer.stderr)
    if answer.returncode or found is None:
        raise RuntimeError(answer.stderr[-500:])
    return int(found[1].replace(",", ""))


def main() -> None:
    """Measure the chosen steps, and print them as a table or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=__doc__)
    parser.add_argument("--step", action="append", choices=tuple(STEPS), help="default: all")
    parser.add_argument("--runs", type=int, default=RUNS, help="of a step in one repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--instructions", action="store_true", help="count instructions (needs valgrind)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--just-run", type=int, metavar="N", help="run the steps N times and print nothing")
    arguments = parser.parse_args()
    names = arguments.step or list(STEPS)
    if arguments.just_run:
        for name in names:
            STEPS[name]()(arguments.just_run)
        return
    unit = "instructions" if arguments.instructions else "ns"
    figures: dict[str, float] = {}
    for name in names:
        if arguments.instructions:
            figures[name] = instructions(name)
        else:
            figures[name] = best_ns(STEPS[name](), runs=arguments.runs, repeats=arguments.repeats)
        if not arguments.json:
            print(f"{name:24} {figures[name]:12,.0f} {unit}", flush=True)
    if arguments.json:
        print(json.dumps({"unit": unit, "steps": figures}, indent=1))


if __name__ == "__main__":
    main()
