"""What runs is judged anew after each change: all of it, whatever comes of one."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest

from pyconnector.edge.access.running import AT_ONCE, RunningSet


@dataclass(eq=False)
class Run:
    number: int
    expires: float = math.inf
    ended: list[int] = field(default_factory=list)

    def abort(self) -> None:
        self.ended.append(self.number)
        if self.number == 1:
            raise OSError("its socket is gone")


def may_go_on(run: Run) -> bool:
    if run.number == 2:
        raise KeyError("odd")
    return run.number == 3


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_one_that_fails_keeps_no_other_from_being_ended(caplog: pytest.LogCaptureFixture) -> None:
    running: RunningSet[Run] = RunningSet(may_go_on)
    for number in (*range(AT_ONCE + 5), 1, 2):
        running.add(Run(number))
    running.judge_anew()
    await turns()
    assert [run.number for run in running._all] == [3]  # in doubt it ends
    assert "cannot be told" in caplog.text
    running.add(late := Run(4))
    running.judge_anew()
    await turns()
    assert late.ended == [4]


async def test_one_that_fails_at_its_time_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    running: RunningSet[Run] = RunningSet(may_go_on)
    runs = [Run(number, expires=5.0) for number in (0, 1, 4)]
    for run in runs:
        running.add(run)
    running.end_expired(5.0)
    assert [run.ended for run in runs] == [[0], [1], [4]]
    assert "in good order" in caplog.text
