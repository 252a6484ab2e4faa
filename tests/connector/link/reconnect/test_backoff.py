from __future__ import annotations

import pytest

from pyconnector.connector.link.reconnect.backoff import MAX_DOUBLINGS, Backoff


def test_the_bound_doubles_with_every_failure_and_stops_at_the_fifth() -> None:
    backoff = Backoff(random=lambda: 1.0)
    assert [backoff.next_delay() for _ in range(7)] == [2, 4, 8, 16, 32, 32, 32]
    assert backoff.exhausted


def test_a_delay_is_drawn_from_zero_up_to_the_bound() -> None:
    draws = iter([0.0, 0.5, 0.999])
    backoff = Backoff(random=lambda: next(draws))
    assert backoff.next_delay() == 0.0
    assert backoff.next_delay() == 2.0
    assert backoff.next_delay() < 8.0


def test_success_begins_anew() -> None:
    backoff = Backoff(random=lambda: 1.0)
    for _ in range(4):
        backoff.next_delay()
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay() == 2.0


@pytest.mark.parametrize(("retries", "expected"), [(0, 1.0), (1, 2.0), (-3, 1.0), (10_000, 2.0**MAX_DOUBLINGS)])
def test_the_number_of_doublings_is_bounded_whatever_is_asked(retries: int, expected: float) -> None:
    backoff = Backoff(random=lambda: 1.0, max_retries=retries)
    assert max(backoff.next_delay() for _ in range(40)) == expected


def test_its_repr_shows_where_it_stands() -> None:
    backoff = Backoff(random=lambda: 0.0)
    backoff.next_delay()
    assert repr(backoff) == "<Backoff failures=1 bound=2s>"
