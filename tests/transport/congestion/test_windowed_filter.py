"""The windowed maximum, against a list that remembers everything."""

from __future__ import annotations

import random

from pyconnector.transport.congestion.windowed_filter import WindowedMaxFilter


def test_greatest_value_of_the_window_is_returned() -> None:
    values = WindowedMaxFilter()
    assert values.update(5.0, time=0, window=2) == 5.0
    assert values.update(9.0, time=0, window=2) == 9.0
    assert values.update(3.0, time=1, window=2) == 9.0


def test_value_leaves_with_its_window() -> None:
    values = WindowedMaxFilter()
    values.update(9.0, time=0, window=2)
    values.update(3.0, time=1, window=2)
    assert values.update(1.0, time=2, window=2) == 3.0
    assert values.update(0.5, time=9, window=2) == 0.5


def test_window_may_change_between_updates() -> None:
    values = WindowedMaxFilter()
    values.update(9.0, time=0, window=10)
    assert values.update(1.0, time=3, window=10) == 9.0
    assert values.update(1.0, time=3, window=1) == 1.0


def test_equals_the_maximum_over_history_and_holds_one_entry_a_tick() -> None:
    rng = random.Random(7)
    values = WindowedMaxFilter()
    history: list[tuple[int, float]] = []
    time = 0
    for _ in range(2000):
        time += rng.choice((0, 0, 0, 1, 3))
        value = rng.random()
        history.append((time, value))
        expected = max(v for t, v in history if t > time - 10)
        assert values.update(value, time=time, window=10) == expected
        assert len(values) <= 10
