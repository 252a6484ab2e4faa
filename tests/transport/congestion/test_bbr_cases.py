"""The example test cases of draft-ietf-ccwg-bbr, appendix A, on a simulated path. Each test names its case."""

from __future__ import annotations

import math

import pytest

from pyconnector.transport.congestion.bbr_states import State
from tests.transport.congestion.pipe import SIZE, Pipe

RATE = 1_000_000.0
RTT = 0.1
BDP = RATE * RTT


def steady_pipe(**options: float) -> Pipe:
    """A flow that left Startup and cruises."""
    pipe = Pipe(rate=RATE, rtt=RTT, **options)
    pipe.run_to(State.PROBE_BW_CRUISE)
    return pipe


def test_startup_ends_when_the_bandwidth_has_a_plateau() -> None:
    # A.1
    pipe = Pipe(rate=RATE, rtt=RTT)
    growth: list[int] = []
    pipe.after_ack = lambda: growth.append(pipe.bbr.machine.full_pipe.rounds)
    pipe.run_to(State.DRAIN)
    assert pipe.bbr.machine.full_pipe.reached
    assert pipe.bbr.machine.full_pipe.now
    assert growth[-1] == 3
    assert pipe.bbr.model.max_bw == pytest.approx(RATE, rel=0.02)
    # Doubling from 10 packets to the 200 of a full pipe and queue, and three rounds to be sure.
    assert pipe.bbr.model.round_count <= 11


def test_startup_ends_by_loss_although_the_application_limits_it() -> None:
    # A.2
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.write_at(600_000)
    pipe.run(seconds=3)
    assert pipe.at(State.STARTUP)
    pipe.loses = lambda packet_id: packet_id % 8 == 0
    pipe.run_to(State.DRAIN, State.PROBE_BW_DOWN, State.PROBE_BW_CRUISE, seconds=1)
    assert pipe.bbr.machine.full_pipe.reached
    assert pipe.bbr.model.inflight_longterm < math.inf


def test_startup_does_not_end_by_few_losses() -> None:
    # 5.3.1.3: below six places a round, a loss is noise.
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.write_at(600_000)
    pipe.run(seconds=2)
    first = pipe._next_id
    # 5 %, which is 3 of the 60 packets of a round.
    pipe.loses = lambda packet_id: packet_id >= first and packet_id % 20 == 0
    pipe.run(seconds=2)
    assert pipe.dropped > 50
    assert pipe.at(State.STARTUP)


def test_drain_ends_when_what_is_in_flight_fits_the_path() -> None:
    # A.3
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.run_to(State.DRAIN)
    began = pipe.now
    assert pipe.bbr.controls.pacing_rate == pytest.approx(0.5 * 0.99 * RATE, rel=0.01)
    pipe.run_to(State.PROBE_BW_DOWN, State.PROBE_BW_CRUISE)
    assert pipe.bbr.sampler.inflight <= BDP + 2 * SIZE
    # From two BDPs to one at half the rate takes two round trips.
    assert pipe.now - began == pytest.approx(2 * RTT, rel=0.25)


def test_drain_ends_after_three_rounds_even_if_it_drained_nothing() -> None:
    # A.4
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.run_to(State.DRAIN)
    pipe.rate *= 0.3
    start = pipe.bbr.model.round_count
    pipe.run(until=lambda: pipe.state is not State.DRAIN)
    assert pipe.bbr.model.round_count == start + 4
    assert pipe.bbr.sampler.inflight > BDP


def test_probe_up_ends_when_the_bandwidth_has_a_plateau() -> None:
    # A.5
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run(until=lambda: pipe.state is not State.PROBE_BW_UP)
    assert pipe.at(State.PROBE_BW_DOWN)
    assert pipe.bbr.machine.full_pipe.rounds == 3
    assert pipe.dropped == 0


def test_probe_up_ends_by_loss_although_the_application_limits_it() -> None:
    # A.6
    pipe = steady_pipe()
    pipe.write_at(0.8 * RATE)
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run(seconds=2 * RTT)
    assert pipe.at(State.PROBE_BW_UP)
    first = pipe._next_id
    pipe.loses = lambda packet_id: packet_id >= first and packet_id % 10 == 0
    pipe.run(until=lambda: pipe.state is not State.PROBE_BW_UP, seconds=1)
    # What is in flight fits the path, so DOWN passes into CRUISE with the same acknowledgment.
    assert pipe.at(State.PROBE_BW_CRUISE)
    assert pipe.bbr.machine.prev_probe_too_high


@pytest.mark.parametrize("target", [State.STARTUP, State.PROBE_BW_UP])
def test_accelerating_does_not_end_while_the_application_limits_it_without_loss(target: State) -> None:
    # A.7
    pipe = Pipe(rate=RATE, rtt=RTT)
    if target is State.STARTUP:
        pipe.write_at(0.1 * RATE)
    else:
        pipe.run_to(target)
        pipe.write_at(0.5 * RATE)
    # So that ProbeRTT, due after 5 s, does not interfere.
    pipe.bbr.model.probe_rtt_min_stamp = pipe.now
    entered = len(pipe.states)
    pipe.run(seconds=4.5)
    assert pipe.at(target)
    assert len(pipe.states) == entered


def test_probe_down_ends_when_there_is_headroom() -> None:
    # A.8
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run_to(State.PROBE_BW_DOWN)
    assert pipe.bbr.controls.pacing_rate == pytest.approx(0.9 * 0.99 * RATE, rel=0.02)
    pipe.run_to(State.PROBE_BW_CRUISE)
    assert pipe.bbr.sampler.inflight <= BDP


def test_probe_down_ends_after_its_longest_time_if_there_is_none() -> None:
    # A.9
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run_to(State.PROBE_BW_DOWN)
    began = pipe.now
    pipe.rate *= 0.85
    # So that ProbeRTT does not interfere.
    pipe.bbr.model.probe_rtt_min_stamp = pipe.now
    pipe.run(until=lambda: pipe.state is not State.PROBE_BW_DOWN)
    assert pipe.at(State.PROBE_BW_REFILL)
    # 2 s, and half of the random second.
    assert pipe.now - began == pytest.approx(2.5, abs=RTT)


def test_probe_rtt_comes_after_five_seconds_and_lasts_a_fifth() -> None:
    # A.10
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_RTT)
    began = pipe.now
    assert began - pipe.bbr.model.min_rtt_stamp == pytest.approx(5.0, abs=RTT)
    cwnd_before = pipe.bbr.controls.prior_cwnd
    in_flight: list[int] = []
    pipe.after_ack = lambda: in_flight.append(pipe.bbr.sampler.inflight)
    pipe.run(until=lambda: pipe.state is not State.PROBE_RTT)
    assert pipe.at(State.PROBE_BW_CRUISE)
    assert min(in_flight) <= BDP / 2
    assert 0.2 <= pipe.now - began <= 0.2 + 2 * RTT
    assert pipe.bbr.controls.cwnd > 0.9 * cwnd_before
    delivered = pipe.delivered_total
    pipe.run(seconds=1)
    assert pipe.delivered_total - delivered > 0.9 * RATE


def test_probe_rtt_is_skipped_after_silence() -> None:
    # A.11
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_CRUISE)
    pipe.write_at(0.5 * RATE)
    pipe.run(seconds=1)
    pipe.write_at(0)
    pipe.run(seconds=6)
    assert pipe.bbr.sampler.inflight == 0
    pipe.write_at(RATE)
    seen: list[bool] = []
    pipe.after_ack = lambda: seen.append(pipe.state is State.PROBE_RTT)
    pipe.run(until=lambda: pipe.bbr.sampler.inflight > 0)
    assert pipe.bbr.machine.idle_restart
    pipe.run(seconds=1)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("interval", [0.01, 0.05])
def test_startup_finds_the_bandwidth_behind_aggregated_acknowledgments(interval: float) -> None:
    # A.12
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.ack_interval = interval
    pipe.run_to(State.DRAIN)
    assert pipe.bbr.model.max_bw == pytest.approx(RATE, rel=0.15)
    assert pipe.bbr.model.extra_acked >= 0.4 * RATE * interval


def test_cruising_keeps_the_pipe_full_behind_aggregated_acknowledgments() -> None:
    # A.13
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.ack_interval = 0.05
    pipe.run_to(State.PROBE_BW_CRUISE)
    delivered = pipe.delivered_total
    pipe.run(seconds=2)
    assert pipe.at(State.PROBE_BW_CRUISE)
    assert pipe.bbr.controls.cwnd >= 2 * BDP + 0.4 * RATE * 0.05
    assert pipe.delivered_total - delivered >= 0.9 * 2 * RATE


def test_four_packets_are_the_floor_of_the_window() -> None:
    # A.14: half a packet in flight would fill this path.
    pipe = Pipe(rate=50_000, rtt=0.01)
    pipe.run_to(State.PROBE_BW_CRUISE)
    pipe.run(seconds=1)
    assert pipe.bbr.controls.cwnd == 4 * SIZE
    delivered = pipe.delivered_total
    pipe.run(seconds=2)
    assert pipe.delivered_total - delivered == pytest.approx(100_000, rel=0.05)


def test_tenfold_bandwidth_is_found() -> None:
    # A.15
    pipe = steady_pipe()
    pipe.rate *= 10
    pipe.run(until=lambda: pipe.bbr.model.max_bw > 9 * RATE)
    probes = sum(state is State.PROBE_BW_UP for _, state in pipe.states)
    assert probes <= 3


def test_a_tenth_of_the_bandwidth_is_adapted_to() -> None:
    # A.16
    pipe = steady_pipe(queue=20 * SIZE)
    pipe.rate /= 10
    pipe.run(until=lambda: pipe.bbr.model.bw < 2 * pipe.rate, seconds=5)
    assert pipe.bbr.model.bw_shortterm < 0.3 * RATE
    pipe.run(until=lambda: pipe.bbr.model.max_bw < 1.2 * pipe.rate)
    dropped, sent = pipe.dropped, pipe._next_id
    pipe.run(seconds=10)
    assert (pipe.dropped - dropped) / (pipe._next_id - sent) < 0.1


def test_shallow_queue_ends_in_few_losses() -> None:
    # A.17, with a queue of 5 packets in place of a bucket.
    pipe = steady_pipe(queue=5 * SIZE)
    pipe.run(seconds=5)
    dropped, sent, delivered = pipe.dropped, pipe._next_id, pipe.delivered_total
    pipe.run(seconds=10)
    assert (pipe.dropped - dropped) / (pipe._next_id - sent) < 0.05
    assert pipe.delivered_total - delivered > 0.7 * 10 * RATE


def test_probe_rtt_during_startup_returns_to_startup() -> None:
    # A.20
    pipe = Pipe(rate=RATE, rtt=RTT)
    pipe.write_at(0.2 * RATE)
    pipe.run_to(State.PROBE_RTT)
    pipe.run(until=lambda: pipe.state is not State.PROBE_RTT)
    assert pipe.at(State.STARTUP)
    assert not pipe.bbr.machine.full_pipe.reached


def test_loss_in_probe_up_lowers_the_longterm_bound_and_ends_the_probe() -> None:
    # A.21
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_REFILL)
    pipe.bbr.model.inflight_longterm = 300 * SIZE
    pipe.run_to(State.PROBE_BW_UP)
    first = pipe._next_id
    pipe.loses = lambda packet_id: packet_id >= first and packet_id % 10 == 0
    pipe.run(until=lambda: pipe.state is not State.PROBE_BW_UP)
    assert pipe.at(State.PROBE_BW_DOWN)
    assert 0.7 * BDP - SIZE <= pipe.bbr.model.inflight_longterm < 200 * SIZE


def test_application_limit_during_refill_does_not_lower_the_bandwidth() -> None:
    # A.22
    pipe = steady_pipe()
    pipe.run_to(State.PROBE_BW_REFILL)
    before = pipe.bbr.model.max_bw
    pipe.write_at(0.1 * RATE)
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run(seconds=0.5)
    assert pipe.bbr.model.max_bw == before
    pipe.write_at(math.inf)
    pipe.run_to(State.PROBE_BW_DOWN)


def test_one_per_cent_of_random_loss_costs_little() -> None:
    # What the draft promises of its threshold of 2 % (5.3.3.8.3), and the reason for BBR here.
    pipe = Pipe(rate=RATE, rtt=RTT, queue=2 * BDP)
    pipe.loses = lambda packet_id: packet_id * 2654435761 % 100 == 0
    pipe.run(seconds=3)
    delivered = pipe.delivered_total
    pipe.run(seconds=20)
    assert pipe.delivered_total - delivered > 0.6 * 20 * RATE
