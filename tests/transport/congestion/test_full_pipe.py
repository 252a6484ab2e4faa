"""The plateau that means "full" (draft-ietf-ccwg-bbr 5.3.1.2)."""

from __future__ import annotations

from pyconnector.transport.congestion.full_pipe import FullPipeEstimator
from tests.transport.congestion.samples import sample


def test_three_rounds_without_a_quarter_more_are_full() -> None:
    pipe = FullPipeEstimator()
    for rate in (100, 124, 124, 124):
        assert not pipe.reached
        pipe.check(sample(rate=rate))
    assert pipe.reached
    assert pipe.now


def test_growth_by_a_quarter_starts_the_count_again() -> None:
    pipe = FullPipeEstimator()
    for rate in (100, 110, 110, 125, 130, 130):
        pipe.check(sample(rate=rate))
    assert pipe.rounds == 2
    assert pipe.baseline == 125
    assert not pipe.now


def test_rounds_that_the_application_limited_do_not_count() -> None:
    pipe = FullPipeEstimator()
    pipe.check(sample(rate=100))
    for _ in range(10):
        pipe.check(sample(rate=50, is_app_limited=True))
    assert pipe.rounds == 0


def test_a_new_search_forgets_the_plateau_but_not_that_the_pipe_was_full_once() -> None:
    pipe = FullPipeEstimator()
    pipe.declare_full()
    pipe.restart(200.0)
    assert not pipe.now
    assert pipe.reached
    assert pipe.baseline == 200
    pipe.forget_reached()
    assert not pipe.reached
