"""The bench itself: it must go on working while nobody looks at it. Its figures mean nothing here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from bench.figures.process import cpu_seconds, tree_cpu_seconds
from bench.figures.report import Report
from bench.figures.system_calls import calls_per_unit
from bench.house.stage import set_up
from bench.house.subject import Subject
from bench.loads.answers import HASHED, Answers
from bench.loads.load import Outcome, repeat
from bench.micro import best_ns
from bench.sections.micro_steps import STEPS
from pyconnector.protocol.streams.connect import ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

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


async def test_units_that_run_at_once_lose_none_of_each_others_bytes() -> None:
    async def unit(tunnel: object) -> int:
        await asyncio.sleep(0)
        return 10

    outcome: Outcome = await repeat(unit, None, in_flight=4, count=20)  # type: ignore[arg-type]

    assert len(outcome.latencies) == 20
    assert outcome.bytes_moved == 200


def test_the_table_shows_medians_and_the_ratio_to_the_last_subject() -> None:
    report = Report(["ours", "peer"])
    for value in (1.0, 9.0, 2.0):
        report.add("ours", "a row", [("p50", value, "ms")])
    report.add("peer", "a row", [("p50", 4.0, "ms")])

    assert "| a row | p50 ms | 2 (1 to 9) | 4 | 0.50 |  |" in report.table()


def test_targets_are_printed_beside_the_ratio_that_they_bound() -> None:
    report = Report(["ours", "peer"])
    for row in ("HTTP 1 KiB, 64 in flight", "HTTP 1 KiB, 64 in flight, 4 connections"):
        for subject, cpu in (("ours", 70.0), ("peer", 100.0)):
            report.add(subject, row, [("CPU per unit", cpu, "us")])

    assert "| 70 | 100 | 0.70 | at most 0.8: met |" in report.table()
    assert "| 70 | 100 | 0.70 | at most 0.65: missed |" in report.table()


def test_the_table_says_whose_core_was_full() -> None:
    report = Report(["ours", "peer"])
    report.add("ours", "a row", [("cores, connector", 0.95, ""), ("cores, edge", 0.4, "")])
    report.add("peer", "a row", [("cores, connector", 0.3, ""), ("cores, edge", 0.1, "")])

    assert "| a row | saturated | connector | nobody, by these |  |  |" in report.table()


class Pieces:
    """A stream that brings `pieces` and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def receive(self, limit: int = 0) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def answer(body: bytes, *, status: bytes = b"200", error: str = "") -> bytes:
    return encode_connect_response(ConnectResponse(error=error, metadata=((b"HttpStatus", status),))) + body


async def checked(*answers: Pieces) -> list[int]:
    async def main() -> list[int]:
        answers_checked = Answers(4)
        return [await answers_checked.check(cast("Stream", each)) for each in answers]

    return await main()


async def test_answers_may_come_in_any_pieces() -> None:
    whole = answer(b"body")
    split = [whole[:9], whole[9:-2], whole[-2:]]
    assert await checked(Pieces(whole), Pieces(*split), Pieces(whole[:-1], whole[-1:])) == [4, 4, 4]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (answer(b"bod"), "3 bytes in place of 4"),
        (answer(b"body", status=b"502"), "not a 200"),
        (answer(b"body", error="no origin"), "no origin"),
        (b"", "without an answer"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_wrong_answers_are_failures(wrong: bytes, said: str, first: bool) -> None:
    with pytest.raises(RuntimeError, match=said):
        await checked(*([] if first else [Pieces(answer(b"body"))]), Pieces(wrong) if wrong else Pieces())


async def test_another_body_than_the_first_is_found_in_a_sample() -> None:
    right = [Pieces(answer(b"body")) for _ in range(HASHED)]
    with pytest.raises(RuntimeError, match="another body"):
        await checked(*right, Pieces(answer(b"BODY")))


async def test_system_calls_are_counted_where_strace_may_attach() -> None:
    async def main() -> float | None:
        code = "import os, sys\nprint(flush=True)\nfor _ in sys.stdin:\n"
        code += "    for _ in range(1000): os.getppid()\n    print(flush=True)"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=-1, stdout=-1)
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        async def work() -> dict[str, int]:
            stdin.write(b"\n")
            await stdout.readline()
            return {"count": 10}

        try:
            await stdout.readline()  # has started: the calls of its start are not counted
            return await calls_per_unit(process.pid, work)
        finally:
            process.kill()
            await process.wait()

    found = await main()
    if found is None:
        pytest.skip("strace is not installed, or may not attach")
    assert 100 <= found < 110


def test_the_cpu_time_of_workers_counts() -> None:
    code = "import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            while tree_cpu_seconds(process.pid) < cpu_seconds(process.pid) + 0.2:
                assert process.poll() is None
        finally:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.kill()


def test_a_row_is_shown_once_the_next_one_begins() -> None:
    report = Report(["ours"])
    assert report.show_row("a row") == ""
    report.add("ours", "a row", [("p50", 1.0, "ms")])
    assert report.show_row("a row") == ""
    report.add("ours", "a row", [("p50", 3.0, "ms")])
    assert report.show_row("another") == "| a row | p50 ms | 2 |"


async def test_requests_over_http2_are_checked_and_cost_something() -> None:
    async with set_up(Subject("http2", engine="http2"), connections=1, edge_engine="http2") as stage:
        for load in ("download", "upload"):
            figures = await stage.measured(do=load, size=100_000, in_flight=4, count=8)
            assert (figures["count"], figures["failures"], figures["bytes"]) == (8, 0, 800_000)
        hop = await stage.measured(do="exchange", hop=True, in_flight=2, seconds=0.1)
        assert hop["count"] > 0
        assert hop["failures"] == 0
