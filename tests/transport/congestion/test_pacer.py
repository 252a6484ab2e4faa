"""The departure clock with literal times (draft-ietf-ccwg-bbr 5.6.2)."""

from __future__ import annotations

import pytest

from pyconnector.transport.congestion.pacer import IDLE_BURST, TIMER_LATENESS, Pacer


def send(pacer: Pacer, now: float, *, size: int = 1000, most: int = 10_000, is_idle: bool = False) -> int:
    """Make one attempt to send as an engine does: build while allowed, then register what was built."""
    pacer.begin(is_idle=is_idle)
    built = 0
    while built < most and pacer.next_send_time(now) is None:
        pacer.reserve()
        built += 1
    for _ in range(built):
        pacer.on_sent(size)
    return built


def pacer_at(rate: float, *, quantum: int) -> Pacer:
    pacer = Pacer(smss=1000)
    pacer.set_rate(rate, quantum=quantum)
    return pacer


def test_a_burst_is_one_quantum() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    assert send(pacer, 10.0) == 4
    assert pacer.is_holding


def test_the_next_burst_may_leave_when_the_clock_reached_the_departure() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    send(pacer, 10.0)
    pacer.begin()
    assert pacer.next_send_time(10.0) == pytest.approx(10.004)
    assert send(pacer, 10.004) == 4


def test_before_that_as_much_may_leave_as_the_clock_advanced() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    send(pacer, 10.0)
    assert send(pacer, 10.0005) == 0
    assert send(pacer, 10.0015) == 1


def test_rate_holds_over_time_although_every_timer_is_late() -> None:
    pacer = pacer_at(1_000_000, quantum=2000)
    now = 10.0
    sent = 0
    while now < 11.0:
        sent += send(pacer, now)
        pacer.begin()
        wake = pacer.next_send_time(now)
        assert wake is not None
        now = wake + 0.9 * TIMER_LATENESS
    assert sent * 1000 == pytest.approx(1_000_000, rel=0.01)


def test_lateness_beyond_the_allowance_is_not_made_up_for() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    send(pacer, 10.0)
    assert send(pacer, 20.0) == 4 + int(TIMER_LATENESS * 1000)


def test_silence_by_choice_earns_no_burst() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    assert send(pacer, 10.0, most=2) == 2
    assert not pacer.is_holding
    assert send(pacer, 20.0) == 4


def test_after_full_silence_an_initial_window_may_leave_at_once() -> None:
    # RFC 9002 7.7.
    pacer = pacer_at(1_000_000, quantum=2000)
    assert send(pacer, 20.0, is_idle=True) == IDLE_BURST
    # The burst is paid for: as long after it as it takes at the rate, no more than a quantum may leave.
    assert send(pacer, 20.0005, is_idle=True) == 0
    assert send(pacer, 20.002) == 2


def test_small_packets_cost_their_true_size() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    assert send(pacer, 10.0, size=100, most=4) == 4
    pacer.begin()
    assert pacer.next_send_time(10.0) is None


def test_packets_built_but_not_sent_cost_nothing() -> None:
    # An acknowledgment alone is not in flight: the engine reserves for it, and never reports it as sent.
    pacer = pacer_at(1_000_000, quantum=2000)
    for _ in range(10):
        pacer.begin()
        assert pacer.next_send_time(10.0) is None
        pacer.reserve()


def test_larger_packets_reserve_more() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    pacer.set_packet_size(2000)
    assert send(pacer, 10.0, size=2000) == 2


def test_being_asked_is_noted_until_it_is_cleared() -> None:
    pacer = pacer_at(1_000_000, quantum=4000)
    pacer.begin()
    before = pacer.was_asked
    pacer.next_send_time(10.0)
    assert (before, pacer.was_asked) == (False, True)
    assert repr(pacer) == "<Pacer rate=1000000 holding=False>"
