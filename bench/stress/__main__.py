"""`python -m bench.stress`: ten minutes of stress over both engines and both event loops, and a report."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import secrets
import shlex
import sys

from bench.stress.house import TRANSPORTS, HouseOptions
from bench.stress.plan import KINDS
from bench.stress.report import HEADER, details, row
from bench.stress.run import LOOPS, Outcome, RunOptions, run

ENGINES = ("aioquic", "qh3")
#: Seconds of the first round, which fills what is kept for good, and the longest of the others.
FIRST_ROUND, LONGEST_ROUND = 10.0, 60.0


def rounds_of(seconds: float) -> tuple[float, ...]:
    """Divide the time of one run into rounds."""
    first = min(FIRST_ROUND, seconds / 3)
    count = max(int((seconds - first) // LONGEST_ROUND), 1)
    return (first, *[(seconds - first) / count] * count)


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 1 where anything was found."""
    asked = _parser().parse_args(arguments)
    engines = [asked.engine] if asked.engine else [name for name in ENGINES if importlib.util.find_spec(name)]
    if asked.transport != TRANSPORTS[0]:
        engines = [asked.transport]  # it has but one
    loops = [asked.loop] if asked.loop else [name for name in LOOPS if importlib.util.find_spec(name)]
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1 << 32)
    combinations = list(itertools.product(engines, loops))
    rounds = rounds_of(asked.minutes * 60 / len(combinations))
    print(f"seed {seed}; again: {_again(arguments, seed)}\n", flush=True)
    outcomes: list[Outcome] = []
    for engine, loop in combinations:
        house = HouseOptions(
            engine=engine, edge_engine=asked.edge_engine or engine, transport=asked.transport, workers=asked.workers
        )
        options = RunOptions(
            house=house,
            loop=loop,
            seed=seed,
            rounds=rounds,
            visits=asked.visits,
            kinds=asked.only,
            leavers=asked.leavers,
            disturbed=not asked.undisturbed,
        )
        outcomes.append(run(options))
        print(f"{engine}, {loop}\n{details(outcomes[-1])}\n", flush=True)
    print("\n".join([HEADER, *map(row, outcomes)]), flush=True)
    return 0 if all(outcome.is_clean for outcome in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.stress", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all combinations together")
    parser.add_argument("--visits", type=int, default=1_000_000, help="at most so many per combination")
    parser.add_argument("--engine", choices=ENGINES, help="default: every installed one")
    parser.add_argument("--edge-engine", choices=ENGINES, help="default: the connector's")
    parser.add_argument("--loop", choices=LOOPS, help="default: both")
    parser.add_argument("--transport", choices=TRANSPORTS, default=TRANSPORTS[0])
    parser.add_argument("--workers", type=int, default=1, help="processes of the connector")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it; default: a new one")
    parser.add_argument("--only", type=_kinds, default=tuple(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--leavers", type=float, default=0.4, help="the share of visitors who leave, 0 to 1")
    parser.add_argument("--undisturbed", action="store_true", help="kill, restart and reload nothing")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"there are no visitors of the kind {', '.join(sorted(unknown))}")
    return kinds


def _again(arguments: list[str] | None, seed: int) -> str:
    given = sys.argv[1:] if arguments is None else arguments
    more = [] if any(argument.startswith("--seed") for argument in given) else [f"--seed={seed}"]
    return shlex.join(["python", "-m", "bench.stress", *given, *more])


if __name__ == "__main__":
    sys.exit(main())
