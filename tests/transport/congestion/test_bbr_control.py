"""Pacing rate, send quantum and window with literal numbers (draft-ietf-ccwg-bbr 5.6)."""

from __future__ import annotations

import pytest

from pyconnector.transport.congestion.bbr_control import Controls
from pyconnector.transport.congestion.bbr_model import PathModel
from pyconnector.transport.congestion.bbr_states import State

# A BDP of 100 packets: 1 MB/s and 0.1 s.
BW = 1_000_000.0
BDP = 100_000


def made(*, bw: float = BW) -> tuple[PathModel, Controls]:
    model = PathModel(smss=1000)
    model.start_clock(100.0)
    model.update_min_rtt(0.1, 100.0)
    model.bw = model.max_bw = bw
    return model, Controls(model, initial_cwnd=10_000)


def set_cwnd(controls: Controls, state: State, *, acked: int = 2000, full: bool = True, delivered: int = 10**6) -> int:
    controls.set_cwnd(state, newly_acked=acked, delivered=delivered, full_bw_reached=full)
    return controls.cwnd


# 5.6.1


def test_gains_are_those_of_the_table() -> None:
    assert {state.label: (state.pacing_gain, state.cwnd_gain) for state in State} == {
        "Startup": (2.77, 2.0),
        "Drain": (0.5, 2.0),
        "ProbeBW_DOWN": (0.9, 2.0),
        "ProbeBW_CRUISE": (1.0, 2.0),
        "ProbeBW_REFILL": (1.0, 2.0),
        "ProbeBW_UP": (1.25, 2.25),
        "ProbeRTT": (1.0, 0.5),
    }


def test_states_know_their_kind() -> None:
    assert [state.label for state in State if state.is_probe_bw] == [
        "ProbeBW_DOWN",
        "ProbeBW_CRUISE",
        "ProbeBW_REFILL",
        "ProbeBW_UP",
    ]
    assert [state.label for state in State if state.is_probing] == ["Startup", "ProbeBW_REFILL", "ProbeBW_UP"]


# 5.6.2


def test_first_pacing_rate_is_the_initial_window_in_a_millisecond_then_in_the_first_round_trip() -> None:
    _, controls = made()
    assert controls.pacing_rate == pytest.approx(2.77 * 10_000 / 0.001)
    controls.init_pacing_rate(0.1)
    assert controls.pacing_rate == pytest.approx(2.77 * 10_000 / 0.1)


def test_first_pacing_rate_rises_with_a_lower_round_trip_and_never_falls() -> None:
    _, controls = made()
    controls.init_pacing_rate(0.4)
    controls.init_pacing_rate(0.1)
    assert controls.pacing_rate == pytest.approx(2.77 * 10_000 / 0.1)
    controls.init_pacing_rate(0.2)
    assert controls.pacing_rate == pytest.approx(2.77 * 10_000 / 0.1)
    controls.pacing_rate = 10**6
    controls.init_pacing_rate(0.09)
    assert controls.pacing_rate == 10**6


def test_pacing_is_one_per_cent_below_the_bandwidth() -> None:
    _, controls = made()
    controls.init_pacing_rate(0.1)
    controls.set_pacing_rate(1.25, full_bw_reached=True)
    assert controls.pacing_rate == pytest.approx(1.25 * 0.99 * BW)


def test_pacing_slows_only_once_the_pipe_was_full() -> None:
    model, controls = made()
    controls.init_pacing_rate(0.1)
    model.bw = 50_000
    controls.set_pacing_rate(1.0, full_bw_reached=False)
    assert controls.pacing_rate == pytest.approx(277_000)
    controls.set_pacing_rate(1.0, full_bw_reached=True)
    assert controls.pacing_rate == pytest.approx(49_500)


def test_pacing_never_stops() -> None:
    model, controls = made()
    model.bw = 0.0
    before = controls.pacing_rate
    controls.set_pacing_rate(1.0, full_bw_reached=True)
    assert controls.pacing_rate == before


# 5.6.3


@pytest.mark.parametrize(
    ("rate", "quantum"), [(100_000, 2000), (5_000_000, 5000), (50_000_000, 50_000), (5_000_000_000, 1024 * 1024)]
)
def test_quantum_is_a_millisecond_of_the_rate(rate: float, quantum: int) -> None:
    _, controls = made()
    controls.pacing_rate = rate
    controls.set_send_quantum()
    assert controls.send_quantum == quantum


# 5.6.4.2


def test_inflight_is_a_multiple_of_the_bdp_with_a_floor() -> None:
    _, controls = made()
    controls.send_quantum = 2000
    assert controls.inflight(State.PROBE_BW_CRUISE, gain=1.0, bw=BW) == pytest.approx(BDP)
    assert controls.inflight(State.PROBE_BW_UP, gain=1.0, bw=BW) == pytest.approx(BDP + 2000)
    assert controls.inflight(State.DRAIN, gain=1.0, bw=10.0) == 4000
    controls.send_quantum = 8000
    assert controls.inflight(State.DRAIN, gain=1.0, bw=10.0) == 8000


def test_short_path_keeps_two_milliseconds_in_flight() -> None:
    model, controls = made()
    model.min_rtt = 0.0001
    assert controls.inflight(State.PROBE_BW_CRUISE, gain=1.0, bw=BW) >= 2000
    model.bw = 100 * BW
    controls.send_quantum = 2000
    assert controls.inflight(State.PROBE_BW_CRUISE, gain=1.0, bw=BW) == pytest.approx(200_000)


def test_inflight_is_the_initial_window_before_the_first_round_trip() -> None:
    model = PathModel(smss=1000)
    controls = Controls(model, initial_cwnd=10_000)
    controls.send_quantum = 2000
    assert controls.inflight(State.STARTUP, gain=2.0, bw=0.0) == 10_000


# 5.6.4.6


def test_window_grows_by_what_is_acknowledged_up_to_twice_the_bdp() -> None:
    _, controls = made()
    assert set_cwnd(controls, State.PROBE_BW_CRUISE) == 12_000
    controls.cwnd = 199_500
    assert set_cwnd(controls, State.PROBE_BW_CRUISE) == 2 * BDP
    controls.cwnd = 400_000
    assert set_cwnd(controls, State.PROBE_BW_CRUISE) == 2 * BDP


def test_window_allows_for_aggregation() -> None:
    model, controls = made()
    model.extra_acked = 7000
    controls.cwnd = 400_000
    assert set_cwnd(controls, State.PROBE_BW_CRUISE) == 2 * BDP + 7000


def test_window_is_not_cut_before_the_pipe_was_full() -> None:
    _, controls = made()
    controls.cwnd = 400_000
    assert set_cwnd(controls, State.STARTUP, full=False) == 400_000
    # Less than an initial window was delivered: the estimates are no reason to stop growing.
    assert set_cwnd(controls, State.STARTUP, full=False, delivered=9000) == 402_000


def test_window_has_a_floor_of_four_packets() -> None:
    model, controls = made()
    model.bw = 1.0
    controls.send_quantum = 0
    assert set_cwnd(controls, State.PROBE_BW_CRUISE) == 4000


# 5.6.4.5


def test_window_of_probe_rtt_is_half_the_bdp() -> None:
    _, controls = made()
    controls.cwnd = 200_000
    assert set_cwnd(controls, State.PROBE_RTT) == BDP // 2


# 5.6.4.7


@pytest.mark.parametrize(
    ("state", "window"),
    [
        (State.DRAIN, 200_000),
        (State.PROBE_BW_DOWN, 120_000),
        (State.PROBE_BW_CRUISE, 102_000),
        (State.PROBE_BW_REFILL, 120_000),
        (State.PROBE_BW_UP, 120_000),
        (State.PROBE_RTT, 50_000),
    ],
)
def test_longterm_bound_caps_the_window(state: State, window: int) -> None:
    model, controls = made()
    model.inflight_longterm = 120_000
    controls.cwnd = 200_000
    assert set_cwnd(controls, state) == window


def test_shortterm_bound_caps_the_window_in_every_state_but_never_below_four_packets() -> None:
    for state in State:
        model, controls = made()
        model.inflight_shortterm = 30_000
        controls.cwnd = 100_000
        assert set_cwnd(controls, state) == 30_000
        model.inflight_shortterm = 10
        assert set_cwnd(controls, state) == 4000


# 5.6.4.4


def test_remembered_window_is_restored() -> None:
    _, controls = made()
    controls.cwnd = 80_000
    controls.save_cwnd(is_modulated=False)
    controls.cwnd = 30_000
    controls.save_cwnd(is_modulated=True)
    controls.restore_cwnd()
    assert controls.cwnd == 80_000
    controls.cwnd = 90_000
    controls.restore_cwnd()
    assert controls.cwnd == 90_000


def test_collapse_leaves_room_for_one_packet() -> None:
    _, controls = made()
    controls.collapse_cwnd(5000)
    assert controls.cwnd == 6000


# 2.2


def test_window_counts_as_used_up_for_this_round_and_the_next() -> None:
    _, controls = made()
    seen: list[bool] = []
    controls.note_inflight(9000)
    seen.append(controls.is_cwnd_limited)
    controls.note_inflight(9001)
    seen.append(controls.is_cwnd_limited)
    controls.start_round()
    seen.append(controls.is_cwnd_limited)
    controls.start_round()
    seen.append(controls.is_cwnd_limited)
    assert seen == [False, True, True, False]


def test_repr_shows_the_parameters() -> None:
    assert repr(made()[1]).startswith("<Controls cwnd=10000 pacing_rate=27700000")
