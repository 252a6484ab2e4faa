"""Credit of readers in no hurry is spread over some milliseconds; that of everyone else is not touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pyconnector.transport.quic.flow.patient_credit import CREDIT_STEP, PATIENCE_STEPS, PATIENT_PERIOD, PatientCredit
from pyconnector.transport.quic.flow.receive_window import FAST_ROUND_TRIPS, UNKNOWN_RATE


@dataclass(eq=False)
class _Window:
    size: int = 1000
    rate: float = 1000 / PATIENT_PERIOD


@dataclass(eq=False)
class _Stream:
    window: _Window = field(default_factory=_Window)
    waits_for_credit: bool = False


RTT = 0.001


def _reader(rate: float = 1000 / PATIENT_PERIOD) -> Any:
    return _Stream(_Window(rate=rate))


def _slow(count: int) -> list[Any]:
    return [_reader() for _ in range(count)]


def test_a_reader_that_hurries_never_waits() -> None:
    credit = PatientCredit()
    assert [credit.hold_back(stream, 1.0, RTT) for stream in _slow(2)] == [False, True]
    assert not credit.hold_back(_reader(rate=1001 / PATIENT_PERIOD), 1.0, RTT)
    assert not credit.hold_back(_reader(rate=UNKNOWN_RATE), 1.0, RTT)
    assert len(credit) == 1


def test_a_reader_that_may_be_held_up_by_the_path_does_not_wait() -> None:
    credit = PatientCredit()
    credit.hold_back(_reader(), 1.0, RTT)
    round_trip = 0.1
    slow_path = _reader(rate=1001 / (FAST_ROUND_TRIPS * round_trip))
    assert not credit.hold_back(slow_path, 1.0, round_trip)
    assert credit.hold_back(slow_path, 1.0, RTT)


def test_slow_readers_that_come_one_by_one_do_not_wait() -> None:
    credit = PatientCredit()
    for number, stream in enumerate(_slow(50)):
        assert not credit.hold_back(stream, 5.0 + number * CREDIT_STEP * 1.01, RTT)
    assert not credit


@pytest.mark.parametrize(("count", "each"), [(1, 1), (16, 1), (17, 2), (32, 2), (100, 7), (16384, 1024)])
def test_those_who_wait_are_served_in_their_order_within_the_steps_that_nobody_waits_longer_than(
    count: int, each: int
) -> None:
    credit = PatientCredit()
    streams = _slow(count + 1)
    assert [credit.hold_back(stream, 1.0, RTT) for stream in streams] == [False] + [True] * count
    steps: list[list[Any]] = []
    while credit:
        steps.append(credit.step(1.0 + len(steps) * CREDIT_STEP))
    assert [stream for step in steps for stream in step] == streams[1:]
    assert {len(step) for step in steps[:-1]} <= {each}
    assert len(steps) <= PATIENCE_STEPS


def test_who_comes_while_others_wait_waits_no_longer_than_the_steps_either() -> None:
    credit = PatientCredit()
    came: dict[Any, int] = {}
    waits: list[int] = []
    # More come while the first are served, then none: the pace must not slacken before the last had its turn.
    for step in range(60):
        for stream in _slow(9 if 5 <= step < 20 else 0 if step else 40):
            if credit.hold_back(stream, step * CREDIT_STEP, RTT):
                came[stream] = step
        waits += [step - came[stream] for stream in credit.step((step + 1) * CREDIT_STEP)]
    assert len(waits) == len(came)
    assert max(waits) < PATIENCE_STEPS


def test_the_pace_is_gentle_again_after_a_rush() -> None:
    credit = PatientCredit()
    for stream in _slow(101):
        credit.hold_back(stream, 1.0, RTT)
    while credit:
        credit.step(1.0)
    assert [credit.hold_back(stream, 1.0, RTT) for stream in _slow(4)] == [True] * 4
    assert len(credit.step(1.001)) == 1


def test_nobody_overtakes_those_who_wait_when_a_step_is_late() -> None:
    credit = PatientCredit()
    first, second, late = _slow(3)
    credit.hold_back(first, 1.0, RTT)
    assert credit.hold_back(second, 1.0, RTT)
    assert credit.hold_back(late, 1.5, RTT)
    assert credit.step(1.5) == [second]
    assert credit.step(1.501) == [late]


def test_a_stream_waits_once() -> None:
    credit = PatientCredit()
    _, stream = _slow(2)
    credit.hold_back(_slow(1)[0], 1.0, RTT)
    assert credit.hold_back(stream, 1.0, RTT)
    assert credit.hold_back(stream, 1.0, RTT)
    assert len(credit) == 1
    assert credit.step(1.001) == [stream]
    assert credit.hold_back(stream, 1.0015, RTT), "the step before this was less than a step ago"
    assert credit.step(1.002) == [stream]
