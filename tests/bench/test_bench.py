"""The bench itself: it must go on working while nobody looks at it. Its figures mean nothing here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from bench.load import Outcome, repeat
from bench.micro import best_ns
from bench.micro_steps import STEPS
from bench.report import Report

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_run_prints_a_table_and_writes_every_sample_with_what_it_was_measured_on(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", "--section", "requests"]
    command += ["--engine", "aioquic", "--edge-engine", "aioquic"]
    command += ["--rounds", "1", "--seconds", "0.05", "--json", str(results)]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)

    assert run.returncode == 0, run.stderr
    written = json.loads(results.read_text())
    assert {"commit", "python", "system", "cpu", "cores", "packages", "command"} <= written["about"].keys()
    row = written["samples"]["HTTP 1 KiB, 16 in flight"]
    assert row["failures"] == {"aioquic": [0]}
    assert row["p50"]["aioquic"][0] > 0
    assert row["CPU per unit"]["aioquic"][0] > 0
    assert "| HTTP 1 KiB, 16 in flight | p50 ms |" in run.stdout


def test_every_micro_benchmark_runs() -> None:
    for name, make in STEPS.items():
        assert best_ns(make(), runs=3, repeats=1) > 0, name


def test_units_that_run_at_once_lose_none_of_each_others_bytes() -> None:
    async def unit(tunnel: object) -> int:
        await asyncio.sleep(0)
        return 10

    outcome: Outcome = asyncio.run(repeat(unit, None, in_flight=4, count=20))  # type: ignore[arg-type]

    assert len(outcome.latencies) == 20
    assert outcome.bytes_moved == 200


def test_the_table_shows_medians_and_the_ratio_to_the_last_subject() -> None:
    report = Report(["ours", "peer"])
    for value in (1.0, 9.0, 2.0):
        report.add("ours", "a row", [("p50", value, "ms")])
    report.add("peer", "a row", [("p50", 4.0, "ms")])

    assert "| a row | p50 ms | 2 | 4 | 0.50 |" in report.table()
