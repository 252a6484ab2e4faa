from __future__ import annotations

from pyconnector.connector.requests.flow_limiter import FlowLimiter


def test_flows_beyond_the_limit_are_refused_until_one_ends() -> None:
    limiter = FlowLimiter(2)
    assert limiter.acquire()
    assert limiter.acquire()
    assert not limiter.acquire()
    limiter.release()
    assert limiter.acquire()


def test_no_limit_counts_all_the_same() -> None:
    limiter = FlowLimiter()
    assert all(limiter.acquire() for _ in range(100))
    assert limiter.active == 100


def test_a_new_limit_keeps_the_count() -> None:
    limiter = FlowLimiter(5)
    for _ in range(4):
        limiter.acquire()
    limiter.limit = 3
    assert not limiter.acquire()
    limiter.release()
    limiter.release()
    assert limiter.acquire()


def test_release_stops_at_zero() -> None:
    limiter = FlowLimiter(1)
    limiter.release()
    assert limiter.active == 0
