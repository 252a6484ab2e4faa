import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.rules.failover import MAX_RETRY_DELAY, Backends, HealthCheck, may_send_again, retry_delays

CHECK = HealthCheck(interval=10.0, unhealthy_after=2, healthy_after=2)


def test_failover_keeps_to_the_first_that_is_up() -> None:
    backends = Backends(3, check=CHECK, checked=True)
    assert backends.order(0) == [0, 1, 2]
    assert backends.order(0) == [0, 1, 2]
    assert not backends.record(0, ok=False, now=0)
    assert backends.order(0) == [0, 1, 2]
    assert backends.record(0, ok=False, now=0)
    assert backends.order(0) == [1, 2, 0]


def test_round_robin_takes_turns_and_leaves_out_what_is_down() -> None:
    backends = Backends(3, "round-robin", check=CHECK, checked=True)
    assert [backends.order(0)[0] for _ in range(4)] == [0, 1, 2, 0]
    backends.record(2, ok=False, now=0)
    backends.record(2, ok=False, now=0)
    assert [backends.order(0) for _ in range(3)] == [[1, 0, 2], [0, 1, 2], [0, 1, 2]]


def test_a_checked_service_comes_back_by_its_checks_alone() -> None:
    backends = Backends(2, check=CHECK, checked=True)
    for _ in range(2):
        backends.record(0, ok=False, now=0)
    assert not backends.is_up(0, 1_000)
    assert not backends.record(0, ok=True, now=1)
    assert not backends.is_up(0, 1)
    assert backends.record(0, ok=True, now=2)
    assert backends.is_up(0, 2)


def test_an_unchecked_service_is_tried_again_after_the_interval_and_one_failure_puts_it_out_again() -> None:
    backends = Backends(2, check=CHECK)
    for _ in range(2):
        backends.record(0, ok=False, now=0)
    assert not backends.is_up(0, 9.9)
    assert backends.is_up(0, 10)
    backends.record(0, ok=False, now=10)
    assert not backends.is_up(0, 19.9)
    assert backends.is_up(0, 20)


def test_if_all_are_down_all_are_tried() -> None:
    backends = Backends(2, check=HealthCheck(unhealthy_after=1), checked=True)
    backends.record(0, ok=False, now=0)
    backends.record(1, ok=False, now=0)
    assert backends.order(0) == [0, 1]


@given(
    st.integers(1, 5),
    st.sampled_from(["failover", "round-robin"]),
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.floats(0, 100))),
)
def test_every_service_is_in_every_order_once(count: int, balance: str, events: list[tuple[int, bool, float]]) -> None:
    backends = Backends(count, "round-robin" if balance == "round-robin" else "failover", check=CHECK)
    for index, ok, now in events:
        backends.record(index % count, ok=ok, now=now)
        assert sorted(backends.order(now)) == list(range(count))


def test_there_is_at_least_one_service() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Backends(0)


@pytest.mark.parametrize(
    ("method", "sent", "body_begun", "answer"),
    [
        ("POST", False, False, True),
        ("POST", True, False, False),
        ("GET", True, False, True),
        ("PUT", True, True, False),
        ("GET", False, True, False),
        ("PATCH", True, False, False),
        ("get", True, False, False),
    ],
)
def test_a_request_is_never_sent_twice_where_that_could_do_it_twice(
    method: str, sent: bool, body_begun: bool, answer: bool
) -> None:
    assert may_send_again(method, sent=sent, body_begun=body_begun) is answer


def test_retries_grow_apart_and_end_with_the_budget() -> None:
    delays = list(itertools.islice(retry_delays(10.0), 100))
    assert delays[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert max(delays) == MAX_RETRY_DELAY
    assert sum(delays) == pytest.approx(10.0)
    assert list(retry_delays(0)) == []
