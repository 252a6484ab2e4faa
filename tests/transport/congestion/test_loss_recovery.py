"""Losses, and losses that were none (draft-ietf-ccwg-bbr 5.3.1.3, 5.5.10, 5.5.11, 5.6.4.4)."""

from __future__ import annotations

import math

import pytest

from pyconnector.transport.congestion import Bbr
from pyconnector.transport.congestion.bbr_states import State
from pyconnector.transport.congestion.loss_recovery import MAX_UNDO_PACKETS
from tests.transport.congestion.pipe import SIZE, Pipe
from tests.transport.congestion.samples import sample


def cruising_pipe() -> Pipe:
    pipe = Pipe(rate=1_000_000.0, rtt=0.1)
    pipe.run_to(State.PROBE_BW_CRUISE)
    pipe.run(seconds=0.5)
    return pipe


def lose(bbr: Bbr, *packet_ids: int, now: float) -> None:
    for packet_id in packet_ids:
        assert packet_id in bbr.sampler._packets
        bbr.on_packet_lost(packet_id, now)


def in_flight(pipe: Pipe) -> list[int]:
    return list(pipe.bbr.sampler._packets)


def test_one_lost_packet_slows_the_flow_once_at_the_end_of_its_round() -> None:
    pipe = cruising_pipe()
    bbr = pipe.bbr
    lose(bbr, in_flight(pipe)[0], now=pipe.now)
    assert bbr.model.bw_shortterm == math.inf
    assert bbr.recovery.is_recovering
    pipe.run(seconds=0.15)
    first = bbr.model.bw_shortterm
    assert 0.7 * 1_000_000 <= first <= 1_000_000
    pipe.run(seconds=0.3)
    assert bbr.model.bw_shortterm == first
    assert not bbr.recovery.is_recovering


def test_loss_while_probing_leaves_the_shortterm_bounds_alone() -> None:
    pipe = Pipe(rate=1_000_000.0, rtt=0.1)
    pipe.run(seconds=0.4)
    assert pipe.at(State.STARTUP)
    lose(pipe.bbr, in_flight(pipe)[0], now=pipe.now)
    pipe.run(seconds=0.2)
    assert pipe.bbr.model.bw_shortterm == math.inf


def test_lost_packet_that_nobody_sent_changes_nothing() -> None:
    pipe = cruising_pipe()
    pipe.bbr.on_packet_lost(10**9, pipe.now)
    assert not pipe.bbr.recovery.is_recovering


@pytest.mark.parametrize(("lost", "ends"), [((0, 2, 4, 6, 8, 10), True), ((0, 2, 4, 6, 8), False), (range(6), False)])
def test_startup_ends_by_loss_in_six_places(lost: tuple[int, ...], ends: bool) -> None:
    bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5)
    for packet_id in range(20):
        bbr.on_packet_sent(packet_id, SIZE, 100.0)
    for packet_id in lost:
        bbr.on_packet_lost(packet_id, 100.1)
    bbr.recovery.check_startup_high_loss(sample(lost=len(lost) * SIZE, tx_in_flight=20 * SIZE))
    assert (bbr.machine.full_pipe.reached) is ends
    assert bbr.recovery.loss_ranges == 0


def test_startup_does_not_end_by_less_than_two_per_cent() -> None:
    bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5)
    bbr.recovery.loss_ranges = 6
    bbr.recovery.check_startup_high_loss(sample(lost=6 * SIZE, tx_in_flight=300 * SIZE))
    assert not bbr.machine.full_pipe.reached


def test_startup_does_not_end_before_a_full_round_of_recovery() -> None:
    pipe = Pipe(rate=1_000_000.0, rtt=0.1)
    pipe.run(seconds=0.45)
    assert pipe.at(State.STARTUP)
    lose(pipe.bbr, *in_flight(pipe)[:16:2], now=pipe.now)
    left_at = pipe.now
    pipe.run(until=lambda: not pipe.at(State.STARTUP))
    assert pipe.now - left_at >= pipe.rtt
    assert pipe.bbr.model.inflight_longterm < math.inf


# A.18


def test_spurious_loss_in_a_probe_is_undone() -> None:
    pipe = cruising_pipe()
    pipe.run_to(State.PROBE_BW_UP)
    pipe.run(seconds=0.11)
    assert pipe.at(State.PROBE_BW_UP)
    bbr = pipe.bbr
    cwnd = bbr.controls.cwnd
    lost = in_flight(pipe)[:6]
    lose(bbr, *lost, now=pipe.now)
    assert pipe.at(State.PROBE_BW_DOWN)
    assert bbr.model.inflight_longterm < math.inf
    arrived: set[int] = set(lost[:5])
    bbr.on_late_acks(arrived.__contains__)
    assert pipe.at(State.PROBE_BW_DOWN)
    arrived = {lost[5]}
    bbr.on_late_acks(arrived.__contains__)
    assert pipe.at(State.PROBE_BW_DOWN), "each must be seen"
    arrived = set(lost)
    bbr.on_late_acks(arrived.__contains__)
    assert pipe.at(State.PROBE_BW_REFILL)
    assert bbr.model.inflight_longterm == math.inf
    assert bbr.controls.cwnd >= cwnd
    assert not bbr.recovery.can_undo
    assert not bbr.model.is_loss_in_round


def test_spurious_loss_that_ended_startup_is_undone() -> None:
    pipe = Pipe(rate=1_000_000.0, rtt=0.1)
    pipe.run(seconds=0.4)
    bbr = pipe.bbr
    lost = in_flight(pipe)[:1]
    lose(bbr, *lost, now=pipe.now)
    bbr.machine.handle_startup_high_loss()
    bbr.machine.check_startup_done()
    assert pipe.at(State.DRAIN)
    bbr.on_late_acks(lambda packet_id: packet_id in lost)
    assert pipe.at(State.STARTUP)
    assert not bbr.machine.full_pipe.reached
    assert bbr.model.inflight_longterm == math.inf


def test_undo_waits_for_the_end_of_probe_rtt() -> None:
    pipe = Pipe(rate=1_000_000.0, rtt=0.1)
    pipe.run(seconds=0.4)
    bbr = pipe.bbr
    lost = in_flight(pipe)[:1]
    lose(bbr, *lost, now=pipe.now)
    bbr.machine.handle_startup_high_loss()
    bbr.machine.state = State.PROBE_RTT
    bbr.on_late_acks(lambda packet_id: packet_id in lost)
    assert pipe.at(State.PROBE_RTT)
    assert not bbr.machine.full_pipe.reached


def test_a_round_without_loss_ends_the_chance_to_undo() -> None:
    pipe = cruising_pipe()
    lose(pipe.bbr, in_flight(pipe)[0], now=pipe.now)
    assert pipe.bbr.recovery.can_undo
    pipe.run(seconds=0.4)
    assert not pipe.bbr.recovery.can_undo


def test_more_losses_than_are_remembered_are_taken_for_real() -> None:
    pipe = cruising_pipe()
    lost = in_flight(pipe)[: MAX_UNDO_PACKETS + 2]
    lose(pipe.bbr, *lost[:MAX_UNDO_PACKETS], now=pipe.now)
    assert len(pipe.bbr.recovery._pending) == MAX_UNDO_PACKETS
    lose(pipe.bbr, *lost[MAX_UNDO_PACKETS:], now=pipe.now)
    assert not pipe.bbr.recovery.can_undo
    pipe.bbr.on_late_acks(lambda _: True)
    assert pipe.bbr.recovery.is_recovering


# 5.6.4.4, A.19


def test_persistent_congestion_leaves_one_packet_and_recovery_brings_the_window_back() -> None:
    pipe = cruising_pipe()
    bbr = pipe.bbr
    before = bbr.controls.cwnd
    bbr.on_persistent_congestion()
    assert bbr.controls.cwnd == bbr.sampler.inflight + SIZE
    pipe.run(seconds=0.5)
    assert not bbr.recovery.is_recovering
    assert bbr.controls.cwnd == pytest.approx(before, rel=0.05)


def test_expired_packets_are_no_loss() -> None:
    pipe = cruising_pipe()
    bbr = pipe.bbr
    before = bbr.sampler.inflight
    bbr.on_packet_expired(in_flight(pipe)[0])
    assert bbr.sampler.inflight == before - SIZE
    assert not bbr.recovery.is_recovering


def test_round_trip_after_the_pipe_was_full_leaves_the_pacing_rate_alone() -> None:
    pipe = cruising_pipe()
    before = pipe.bbr.controls.pacing_rate
    pipe.bbr.on_rtt(0.0001)
    assert pipe.bbr.controls.pacing_rate == before


def test_repr_shows_the_state() -> None:
    assert repr(cruising_pipe().bbr.recovery) == "<LossRecovery recovering=False ranges=0 pending=0>"
    assert "Startup" in repr(Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5))
