"""State transitions one acknowledgment at a time (draft-ietf-ccwg-bbr 5.3, 5.4)."""

from __future__ import annotations

import math

import pytest

from pyconnector.transport.congestion import Bbr
from pyconnector.transport.congestion.bbr_states import AckPhase, State
from tests.transport.congestion.samples import sample

SIZE = 1000


def cruising_bbr(*, bw: float = 1_000_000.0, rtt: float = 0.1, inflight: int = 90, uniform: float = 0.5) -> Bbr:
    """A flow on a path of 100 packets that just entered ProbeBW_CRUISE at time 100."""
    bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: uniform)
    model, machine = bbr.model, bbr.machine
    model.start_clock(100.0)
    model.update_min_rtt(rtt, 100.0)
    model.update_max_bw(sample(rate=bw), delivered=0)
    model.bound_bw()
    for packet_id in range(inflight):
        bbr.sampler.on_sent(packet_id, SIZE, 100.0)
    bbr.controls.cwnd = 200 * SIZE
    bbr.controls.send_quantum = 2 * SIZE
    machine.full_pipe.declare_full()
    machine.state = State.DRAIN
    model.round_count = 4
    machine.check_drain_done(100.0)
    machine.update_probe_bw_cycle_phase(sample(), 100.0)
    model.round_start = False
    model.rounds_since_probe_up = int(uniform * 2)
    return bbr


def step(bbr: Bbr, now: float, *, round_start: bool = False, **values: float) -> State:
    bbr.model.round_start = round_start
    bbr.machine.update_probe_bw_cycle_phase(sample(**values), now)  # type: ignore[arg-type]
    return bbr.machine.state


def state_of(bbr: Bbr) -> State:
    return bbr.machine.state


def phase_of(bbr: Bbr) -> AckPhase:
    return bbr.machine.ack_phase


def probing_bbr(**options: float) -> Bbr:
    """A flow in ProbeBW_UP."""
    bbr = cruising_bbr(**options)  # type: ignore[arg-type]
    assert step(bbr, 103.0) is State.PROBE_BW_REFILL
    assert step(bbr, 103.1, round_start=True) is State.PROBE_BW_UP
    return bbr


# 5.3.1.3


def test_startup_that_lost_too_much_takes_what_was_delivered_as_the_bound() -> None:
    bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5)
    bbr.model.inflight_latest = 80 * SIZE
    bbr.machine.handle_startup_high_loss()
    bbr.machine.check_startup_done()
    assert state_of(bbr) is State.DRAIN
    assert bbr.model.inflight_longterm == 80 * SIZE
    assert bbr.machine.undo_state is State.STARTUP


def test_startup_that_lost_too_much_keeps_at_least_the_bdp() -> None:
    bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5)
    bbr.model.update_min_rtt(0.1, 100.0)
    bbr.model.bw = 1_000_000.0
    bbr.model.inflight_latest = 80 * SIZE
    bbr.machine.handle_startup_high_loss()
    assert bbr.model.inflight_longterm == 100 * SIZE


# 5.3.3.8.3


@pytest.mark.parametrize(("uniform", "wait", "rounds"), [(0.0, 2.0, 0), (0.4, 2.4, 0), (0.75, 2.75, 1)])
def test_probe_comes_after_two_to_three_random_seconds(uniform: float, wait: float, rounds: int) -> None:
    bbr = cruising_bbr(uniform=uniform)
    assert bbr.machine.bw_probe_wait == pytest.approx(wait)
    assert bbr.model.rounds_since_probe_up == rounds
    assert step(bbr, 100.0 + wait) is State.PROBE_BW_CRUISE
    assert step(bbr, 100.0 + wait + 0.001) is State.PROBE_BW_REFILL


def test_probe_comes_earlier_after_as_many_rounds_as_reno_would_need() -> None:
    # min(BDP in packets, 63): 63 here, and 20 on a path that holds 20 packets.
    bbr = cruising_bbr()
    bbr.model.rounds_since_probe_up = 62
    assert step(bbr, 100.1) is State.PROBE_BW_CRUISE
    bbr.model.rounds_since_probe_up = 63
    assert step(bbr, 100.2) is State.PROBE_BW_REFILL
    small = cruising_bbr(bw=200_000.0, inflight=15)
    small.model.rounds_since_probe_up = 20
    assert step(small, 100.1) is State.PROBE_BW_REFILL


# 5.3.3.9


def test_down_goes_on_until_both_headroom_and_bdp_allow() -> None:
    bbr = cruising_bbr(inflight=101)
    assert state_of(bbr) is State.PROBE_BW_DOWN
    bbr.sampler.inflight = 100 * SIZE
    bbr.model.inflight_longterm = 110 * SIZE
    # 15 % of 110 packets leave 93.5.
    assert step(bbr, 100.1) is State.PROBE_BW_DOWN
    bbr.sampler.inflight = 93 * SIZE
    assert step(bbr, 100.2) is State.PROBE_BW_CRUISE


def test_refill_forgets_the_shortterm_bounds_and_lasts_one_round() -> None:
    bbr = cruising_bbr()
    bbr.model.bw_shortterm = 1000.0
    bbr.model.inflight_shortterm = 1000.0
    assert step(bbr, 103.0) is State.PROBE_BW_REFILL
    assert bbr.model.bw_shortterm == bbr.model.inflight_shortterm == math.inf
    assert phase_of(bbr) is AckPhase.REFILLING
    assert step(bbr, 103.05) is State.PROBE_BW_REFILL
    before = bbr.machine.is_bw_probe_sample
    assert step(bbr, 103.1, round_start=True) is State.PROBE_BW_UP
    assert (before, bbr.machine.is_bw_probe_sample) == (False, True)
    assert phase_of(bbr) is AckPhase.PROBE_STARTING


def test_bandwidth_cycle_advances_one_round_after_the_probe() -> None:
    bbr = probing_bbr()
    step(bbr, 103.2, round_start=True)
    assert phase_of(bbr) is AckPhase.PROBE_FEEDBACK
    bbr.machine.full_pipe.declare_full()
    assert step(bbr, 103.3) is State.PROBE_BW_DOWN
    assert phase_of(bbr) is AckPhase.PROBE_STOPPING
    before = bbr.model.cycle_count
    step(bbr, 103.35)
    assert bbr.model.cycle_count == before
    step(bbr, 103.4, round_start=True)
    assert bbr.model.cycle_count == before + 1
    assert phase_of(bbr) is AckPhase.INIT


def test_bandwidth_cycle_does_not_advance_on_what_the_application_limited() -> None:
    bbr = probing_bbr()
    bbr.machine.full_pipe.declare_full()
    step(bbr, 103.3)
    before = bbr.model.cycle_count
    step(bbr, 103.4, round_start=True, is_app_limited=True)
    assert bbr.model.cycle_count == before


def test_longterm_bound_grows_by_one_two_four_packets_a_round() -> None:
    bbr = probing_bbr()
    bbr.model.inflight_longterm = bbr.controls.cwnd = 200 * SIZE
    bbr.controls.note_inflight(200 * SIZE)
    grown: list[float] = []
    for round_number in range(5):
        before = bbr.model.inflight_longterm
        acked = bbr.controls.cwnd // 10
        for ack in range(10):
            step(bbr, 103.2 + round_number, round_start=ack == 9, newly_acked=acked, tx_in_flight=50 * SIZE)
            bbr.controls.cwnd = int(bbr.model.inflight_longterm)
        grown.append((bbr.model.inflight_longterm - before) / SIZE)
    assert grown == pytest.approx([1, 2, 4, 8, 16], abs=1)
    assert sum(grown) == pytest.approx(31, abs=1)


def test_longterm_bound_does_not_grow_while_it_does_not_bind() -> None:
    bbr = probing_bbr()
    bbr.model.inflight_longterm = 100 * SIZE
    bbr.controls.cwnd = 99 * SIZE
    bbr.controls.note_inflight(99 * SIZE)
    for _ in range(20):
        step(bbr, 103.2, newly_acked=100 * SIZE, tx_in_flight=50 * SIZE)
    assert bbr.model.inflight_longterm == 100 * SIZE


def test_longterm_bound_rises_to_what_was_sent_without_loss() -> None:
    bbr = cruising_bbr()
    bbr.model.inflight_longterm = 100 * SIZE
    step(bbr, 100.1, tx_in_flight=110 * SIZE, lost=2200)
    assert bbr.model.inflight_longterm == 110 * SIZE
    step(bbr, 100.1, tx_in_flight=120 * SIZE, lost=2401)
    assert bbr.model.inflight_longterm == 110 * SIZE


def test_window_that_a_fractional_bound_limits_still_raises_it() -> None:
    # The window is whole bytes; were the bound not, the window would stay below it for ever and the probe blind.
    bbr = probing_bbr()
    bbr.machine.handle_inflight_too_high(tx_in_flight=88_888.75, is_app_limited=False, now=103.2)
    bbr.controls.set_cwnd(State.PROBE_BW_UP, newly_acked=SIZE, delivered=10**6, full_bw_reached=True)
    assert bbr.controls.cwnd >= bbr.model.inflight_longterm


# 5.3.3.6 and 5.3.3.7


def test_plateau_while_the_longterm_bound_limits_the_window_ends_no_probe() -> None:
    bbr = probing_bbr()
    bbr.model.inflight_longterm = bbr.controls.cwnd
    bbr.controls.note_inflight(bbr.controls.cwnd)
    bbr.machine.full_pipe.declare_full()
    assert step(bbr, 103.2, rate=777_777.0) is State.PROBE_BW_UP
    assert bbr.machine.full_pipe.baseline == 777_777
    assert not bbr.machine.full_pipe.now


def test_after_a_probe_that_went_too_high_the_next_one_only_looks() -> None:
    bbr = probing_bbr()
    bbr.machine.handle_inflight_too_high(tx_in_flight=120 * SIZE, is_app_limited=False, now=103.2)
    assert state_of(bbr) is State.PROBE_BW_DOWN
    assert bbr.model.inflight_longterm == 120 * SIZE
    # The round of feedback passes, then the next probe is due.
    assert step(bbr, 103.3, round_start=True) is State.PROBE_BW_CRUISE
    assert step(bbr, 106.0) is State.PROBE_BW_REFILL
    assert step(bbr, 106.1, round_start=True) is State.PROBE_BW_UP
    # As soon as the risky volume is in flight, the probe ends ...
    bbr.sampler.inflight = 120 * SIZE
    assert step(bbr, 106.2) is State.PROBE_BW_DOWN
    # ... and if its feedback is good, a full probe follows at once.
    assert step(bbr, 106.3, round_start=True) is State.PROBE_BW_REFILL


def test_probe_after_one_that_went_well_does_not_stop_at_the_bound() -> None:
    bbr = probing_bbr()
    bbr.model.inflight_longterm = 80 * SIZE
    assert bbr.sampler.inflight > bbr.model.inflight_longterm
    assert step(bbr, 103.2, tx_in_flight=50 * SIZE) is State.PROBE_BW_UP


def test_after_a_careful_probe_that_lost_too_much_no_other_follows() -> None:
    bbr = probing_bbr()
    bbr.machine.handle_inflight_too_high(tx_in_flight=120 * SIZE, is_app_limited=False, now=103.2)
    step(bbr, 103.3, round_start=True)
    step(bbr, 106.0)
    step(bbr, 106.1, round_start=True)
    bbr.sampler.inflight = 120 * SIZE
    step(bbr, 106.2)
    bbr.machine.handle_inflight_too_high(tx_in_flight=110 * SIZE, is_app_limited=False, now=106.25)
    assert step(bbr, 106.3, round_start=True) is State.PROBE_BW_DOWN


# 5.5.10.2


def test_bound_is_lowered_to_no_less_than_seven_tenths_of_the_bdp() -> None:
    bbr = probing_bbr()
    bbr.machine.handle_inflight_too_high(tx_in_flight=20 * SIZE, is_app_limited=False, now=103.2)
    assert bbr.model.inflight_longterm == 70 * SIZE


def test_bound_is_not_lowered_by_what_the_application_limited() -> None:
    bbr = probing_bbr()
    bbr.machine.handle_inflight_too_high(tx_in_flight=20 * SIZE, is_app_limited=True, now=103.2)
    assert bbr.model.inflight_longterm == math.inf
    assert state_of(bbr) is State.PROBE_BW_DOWN


# 5.3.4.3


def test_probe_rtt_waits_for_few_in_flight_then_for_a_fifth_of_a_second_and_a_round() -> None:
    bbr = cruising_bbr()
    machine, model = bbr.machine, bbr.model
    model.probe_rtt_expired = True
    model.round_start = False
    bbr.controls.prior_cwnd = 300 * SIZE
    machine.check_probe_rtt(sample(), 106.0)
    assert state_of(bbr) is State.PROBE_RTT
    assert bbr.sampler.app_limited > 0
    # 90 packets are more than half the BDP: the time does not run yet.
    machine.check_probe_rtt(sample(), 106.5)
    bbr.sampler.inflight = 50 * SIZE
    machine.check_probe_rtt(sample(), 107.0)
    model.round_start = True
    machine.check_probe_rtt(sample(), 107.1)
    assert state_of(bbr) is State.PROBE_RTT
    model.round_start = False
    machine.check_probe_rtt(sample(), 107.2)
    assert state_of(bbr) is State.PROBE_RTT
    machine.check_probe_rtt(sample(), 107.201)
    assert state_of(bbr) is State.PROBE_BW_CRUISE
    assert bbr.controls.cwnd == 300 * SIZE
    assert model.probe_rtt_min_stamp == 107.201


def test_probe_rtt_lasts_a_round_where_that_is_longer() -> None:
    bbr = cruising_bbr()
    bbr.model.probe_rtt_expired = True
    bbr.sampler.inflight = 50 * SIZE
    bbr.model.round_start = False
    bbr.machine.check_probe_rtt(sample(), 106.0)
    bbr.machine.check_probe_rtt(sample(), 107.0)
    assert state_of(bbr) is State.PROBE_RTT
    bbr.model.round_start = True
    bbr.machine.check_probe_rtt(sample(), 107.1)
    assert state_of(bbr) is State.PROBE_BW_CRUISE


def test_silence_counts_as_probe_rtt_until_data_is_delivered() -> None:
    bbr = cruising_bbr()
    bbr.machine.idle_restart = True
    bbr.model.probe_rtt_expired = True
    bbr.machine.check_probe_rtt(sample(delivered=0), 106.0)
    assert bbr.machine.idle_restart
    bbr.machine.check_probe_rtt(sample(), 106.1)
    assert bbr.machine.state is not State.PROBE_RTT
    assert not bbr.machine.idle_restart


def test_repr_names_the_state() -> None:
    assert repr(cruising_bbr().machine) == "<BbrStateMachine ProbeBW_CRUISE, acks: not probing>"
