"""The stress harness finds what it is there for: each planted fault becomes a finding, and calm runs have none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from bench.stress import house, run, workers
from bench.stress.__main__ import main, rounds_of
from bench.stress.body import Wrong, check_body, make_body
from bench.stress.frames import BINARY, frame, masked, read_frame
from bench.stress.ledger import Failed, Ledger, Listener
from bench.stress.origins import http1
from bench.stress.plan import BEHAVIOURS, KINDS, Plan, make_plan
from bench.stress.run import Outcome, RunOptions

PLAN = Plan(kind="http1", number=7, behaviour="plain", upload=0, download=100, messages=0, chunked=False, leave=None)


def some_visits(**more: Any) -> Outcome:
    values: dict[str, Any] = {"kinds": ("http1",), "leavers": 0.0, "disturbed": False, "rounds": (5.0, 5.0)}
    return run.run(RunOptions(**{**values, "visits": 60, **more}))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda data: data[:-1], "claims to be whole"),
        (lambda data: data + data, "claims to be whole"),
        (lambda data: data[:40] + b"!" + data[41:], "damaged"),
        (lambda data: make_body(8, 100), "has the body of 8"),
        (lambda data: b"<html>", "no body of ours"),
    ],
    ids=["cut", "doubled", "damaged", "another's", "foreign"],
)
def test_a_body_tells_what_happened_to_it(damage: Callable[[bytes], bytes], word: str) -> None:
    body = make_body(7, 100)
    check_body(body, 7, whose="the answer to")
    with pytest.raises(Wrong, match=word):
        check_body(damage(body), 7, whose="the answer to")


def test_a_plan_is_the_same_from_the_same_seed() -> None:
    for kind in KINDS:
        plans = [[make_plan(seed, kind, 3, index, leavers=0.5) for index in range(200)] for seed in (1, 1, 2)]
        assert plans[0] == plans[1] != plans[2]
        assert {plan.behaviour for plan in plans[0]} <= set(BEHAVIOURS[KINDS[kind]])
        assert 50 < sum(plan.leave is not None for plan in plans[0]) < 150


def test_numbers_of_visits_are_never_shared() -> None:
    numbers = [
        make_plan(1, kind, worker, index, leavers=0, stream=stream).number
        for kind in KINDS
        for worker in range(3)
        for index in range(20)
        for stream in range(6)
    ]
    assert len(set(numbers)) == len(numbers)


async def test_frames_are_read_as_they_were_written() -> None:
    for size in (0, 125, 126, 65_535, 65_536):
        payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert masked(masked(payload, b"abcd"), b"abcd") == payload
        for key in (b"", b"\0\xff1!"):
            reader = asyncio.StreamReader()
            reader.feed_data(frame(BINARY, payload, key))
            assert await read_frame(reader) == (BINARY, payload)


async def test_a_failure_is_excused_by_a_disturbance_alone() -> None:
    ledger, loop = Ledger(), asyncio.get_running_loop()
    began = loop.time()
    with ledger.disturbance("kill", cuts=True):
        ledger.ended(PLAN, began, Failed("502"), left=False)
    ledger.ended(PLAN, began, Failed("502"), left=False)
    assert ledger.findings == {}
    with ledger.disturbance("reload", cuts=False):
        ledger.ended(PLAN, loop.time(), Failed("502"), left=False)
    assert ledger.findings.total() == 1
    for never_excused in (Wrong("mixed up"), TimeoutError()):
        with ledger.disturbance("kill", cuts=True):
            ledger.ended(PLAN, loop.time(), never_excused, left=False)
    assert ledger.findings.total() == 3
    assert ledger.outcomes == {("http1", "excused"): 2, ("http1", "found"): 3}


async def test_a_restart_during_the_visit_before_excuses() -> None:
    ledger, loop = Ledger(), asyncio.get_running_loop()
    before = loop.time()
    with ledger.disturbance("edge restart", cuts=True):
        pass
    await asyncio.sleep(0.001)
    ledger.ended(PLAN, loop.time(), Failed("cut off"), left=False, excused_from=before)
    assert ledger.findings == {}
    ledger.ended(PLAN, loop.time(), Failed("cut off"), left=False)
    assert ledger.findings.total() == 1


def test_a_request_that_arrives_twice_is_found() -> None:
    ledger = Ledger()
    ledger.arrived(1)
    ledger.arrived(2)
    assert not ledger.found
    ledger.arrived(1)
    assert list(ledger.findings) == ["doubled: request 1 arrived twice"]


def test_a_traceback_in_the_log_is_found() -> None:
    ledger = Ledger()
    logger = logging.Logger("pyconnector.test")
    logger.addHandler(Listener(ledger))
    logger.error("an origin is away")
    assert not ledger.found
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("a task failed")
    assert list(ledger.findings) == ["traceback in the log: a task failed: ValueError: why"]


def test_a_calm_run_finds_nothing_and_is_bounded_by_its_visits() -> None:
    outcome = some_visits(kinds=tuple(KINDS), visits=150)
    assert outcome.is_clean, outcome.ledger.findings
    assert 150 <= outcome.ledger.visits <= 150 + sum(workers.CROWD.values()) * workers.STREAMS
    assert {kind for kind, _ in outcome.ledger.outcomes} == set(KINDS)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + data, lambda data: make_body(1, 100)],
    ids=["cut", "doubled", "another's"],
)
def test_an_origin_that_answers_wrongly_is_found(
    damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "make_body", lambda number, size: damage(make_body(number, size)))
    outcome = some_visits()
    assert any(text.startswith("wrong:") for text in outcome.ledger.findings)


def test_an_answer_that_never_comes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEADLINE", 0.5)
    monkeypatch.setattr(http1, "LATEST", 1000.0)
    monkeypatch.setattr(run, "SETTLE", 0.2)
    outcome = some_visits(visits=100)
    assert any(text.startswith("hung:") for text in outcome.ledger.findings)


def test_sockets_that_stay_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "KEEP_ALIVE", "0s")  # for ever
    monkeypatch.setattr(run, "SETTLE", 0.2)
    outcome = some_visits()
    assert any("connections to the http origin" in text for text in outcome.ledger.findings)
    assert all("after round" in text for text in outcome.ledger.findings), "closed with the connector"


def test_the_command_prints_its_seed_and_fails_with_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--minutes", "0.2", "--visits", "40", "--engine", "aioquic", "--loop", "asyncio", "--only", "http1,tcp"]
    asked += ["--leavers", "0", "--undisturbed", "--seed", "20261129"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "seed 20261129" in said
    assert "| aioquic, asyncio | 20261129 |" in said
    monkeypatch.setattr(http1, "make_body", lambda number, size: make_body(1, size))
    assert main(asked) == 1
    assert "FOUND" in capsys.readouterr().out


def test_an_unknown_kind_of_visitor_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "ws,gopher"])
    assert "gopher" in capsys.readouterr().err


def test_rounds_add_up_to_the_time_asked_for() -> None:
    for seconds in (5.0, 150.0, 600.0):
        assert sum(rounds_of(seconds)) == pytest.approx(seconds)
        assert len(rounds_of(seconds)) >= 2
