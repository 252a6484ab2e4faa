"""Some seconds of stress on each engine, on HTTP/2, and on each event loop; `python -m bench.stress` does more of it.

The seed is the same each time; PYCONNECTOR_SEED gives another.
"""

from __future__ import annotations

import os

import pytest

from bench.stress.house import HouseOptions
from bench.stress.report import details
from bench.stress.run import RunOptions, run

SEED = int(os.environ.get("PYCONNECTOR_SEED", "20261129"))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("engine", ["aioquic", "qh3", "http2"])
def test_stayers_are_answered_and_nothing_stays(engine: str, loop: str) -> None:
    if engine == "qh3":
        pytest.importorskip("qh3", reason="the extra `fast` is not installed")
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="the extra `fast` is not installed")
    print(f"seed {SEED}")
    if engine == "http2":
        house = HouseOptions(transport=engine)
    else:
        house = HouseOptions(engine=engine, edge_engine=engine)
    outcome = run(RunOptions(house=house, loop=loop, seed=SEED, rounds=(1.0, 2.0), visits=5000))
    assert outcome.is_clean, details(outcome)


def test_workers_that_end_and_are_replaced_lose_nobody() -> None:
    print(f"seed {SEED}")
    kinds = ("private", "ws")  # the others: docs/reliability.md
    house = HouseOptions(workers=2)
    outcome = run(RunOptions(house=house, loop="asyncio", seed=SEED, rounds=(1.0, 2.0), visits=3000, kinds=kinds))
    assert outcome.ledger.visits > 0
    assert outcome.is_clean, details(outcome)
