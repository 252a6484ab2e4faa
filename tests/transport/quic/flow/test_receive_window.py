"""A window moves with consumption, grows for a fast reader within its maximum and allowance, and shrinks again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.quic.flow.receive_window import RATE_SPAN, UNKNOWN_RATE, Allowance, ReceiveWindow


def test_credit_is_due_once_a_quarter_was_consumed() -> None:
    window = ReceiveWindow(1000, 1000)
    assert not window.consume(249)
    assert window.consume(1)
    assert window.extend(1.0, 0.1) == 1250
    assert not window.consume(1)


def test_nothing_is_granted_to_a_reader_that_takes_nothing() -> None:
    window = ReceiveWindow(1000, 8000)
    assert window.extend(1.0, 0.1) == 1000
    assert window.extend(2.0, 0.1) == 1000


def test_a_fast_reader_gets_a_larger_window_up_to_the_maximum() -> None:
    window = ReceiveWindow(1000, 3000)
    now = 0.0
    for _ in range(20):
        window.consume(window.size)
        window.extend(now, 0.1)
        now += 0.1
    assert window.size == 3000
    assert window.limit == window.consumed + 3000


def test_a_slow_reader_keeps_its_window() -> None:
    window = ReceiveWindow(1000, 8000)
    for second in range(20):
        window.consume(600)
        window.extend(float(second), 0.1)
    assert window.size == 1000


def test_a_window_that_grew_for_a_quick_start_shrinks_to_its_first_size() -> None:
    allowance = Allowance(100_000)
    window = ReceiveWindow(1000, 8000, allowance)
    now = 0.0
    for _ in range(20):
        window.consume(window.size)
        window.extend(now, 0.1)
        now += 0.1
    assert (window.size, allowance.free) == (8000, 93_000)
    for _ in range(20):
        window.consume(window.size)
        window.extend(now, 0.1)
        now += 10.0
    assert (window.size, allowance.free) == (1000, 100_000)
    assert window.limit == window.consumed + 1000


def test_limits_are_never_taken_back() -> None:
    window = ReceiveWindow(1000, 8000, Allowance(100_000))
    limits = []
    for step in range(60):
        window.consume(window.size // 3)
        limits.append(window.extend(step * (0.01 if step < 20 else 20.0), 0.1))
    assert limits == sorted(limits)


@given(paces=st.lists(st.tuples(st.integers(0, 19), st.booleans()), max_size=300))
def test_windows_never_grow_by_more_than_their_allowance_and_leave_some(paces: list[tuple[int, bool]]) -> None:
    allowance = Allowance(64_000)
    windows = [ReceiveWindow(1000, 32_000, allowance) for _ in range(20)]
    now = 0.0
    for number, is_fast in paces:
        window = windows[number]
        now += 0.001 if is_fast else 100.0
        window.consume(window.size)
        window.extend(now, 0.1)
        grown = sum(each.size - 1000 for each in windows)
        assert grown + allowance.free == 64_000
        assert allowance.free > 0
    for window in windows:
        window.release()
        window.release()
        assert window.size == 1000
    assert allowance.free == 64_000


def test_the_rate_of_a_reader_is_what_it_took_over_a_span_with_the_pause_that_ended_it() -> None:
    window = ReceiveWindow(1000, 1000)
    assert window.rate == UNKNOWN_RATE
    window.extend(10.0, 0.001)
    for step in range(4):
        window.consume(300)
        window.extend(10.0 + step * 0.001, 0.001)
    assert window.rate == UNKNOWN_RATE, "a burst says nothing"
    window.consume(300)
    window.extend(10.0 + 0.5, 0.001)
    assert window.rate == pytest.approx(1500 / 0.5)
    window.consume(300)
    window.extend(10.5 + RATE_SPAN * 2, 0.001)
    assert window.rate == pytest.approx(300 / (RATE_SPAN * 2))


def test_the_rate_counts_from_the_first_credit_on() -> None:
    window = ReceiveWindow(1000, 1000)
    window.consume(500)
    window.extend(1000.0, 0.001)
    window.consume(250)
    window.extend(1000.0 + RATE_SPAN, 0.001)
    assert window.rate == pytest.approx(250 / RATE_SPAN)
