"""When BBR accelerates, cruises, slows down and measures the RTT: draft-ietf-ccwg-bbr 5.3.

`Bbr` calls the `check_*` and `update_*` methods in the draft's order on each rate sample. They read the path model and
the control parameters, and change `state` and the long-term bound. Method names follow the draft's pseudocode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.transport.congestion import bbr_parameters as p
from pyconnector.transport.congestion.bbr_model import is_inflight_too_high
from pyconnector.transport.congestion.bbr_states import AckPhase, State
from pyconnector.transport.congestion.full_pipe import FullPipeEstimator

if TYPE_CHECKING:
    from pyconnector.transport.congestion.bbr_control import Controls
    from pyconnector.transport.congestion.bbr_model import PathModel
    from pyconnector.transport.congestion.delivery_rate import DeliveryRateSampler, RateSample

#: Returns a number in [0, 1): `random.Random(seed).random` or a constant in tests.
Uniform: TypeAlias = Callable[[], float]


class BbrStateMachine:
    """The state of the flow and the rules that change it."""

    __slots__ = (
        "_bw_probe_up_acked",
        "_bw_probe_up_rounds",
        "_controls",
        "_cycle_stamp",
        "_drain_start_round",
        "_model",
        "_prev_probe_precautionary",
        "_probe_rtt_done_stamp",
        "_probe_rtt_round_done",
        "_probe_up_acked_per_inc",
        "_sampler",
        "_uniform",
        "ack_phase",
        "bw_probe_wait",
        "full_pipe",
        "idle_restart",
        "is_bw_probe_sample",
        "prev_probe_too_high",
        "state",
        "undo_state",
    )

    def __init__(self, sampler: DeliveryRateSampler, model: PathModel, controls: Controls, *, uniform: Uniform) -> None:
        self._sampler = sampler
        self._model = model
        self._controls = controls
        self._uniform = uniform
        self.state = State.STARTUP
        self.full_pipe = FullPipeEstimator()
        self.idle_restart = False
        self.undo_state: State | None = None
        "Where to return if the losses that ended a probe turn out spurious."
        self._drain_start_round = 0
        # ProbeBW (2.14)
        self.ack_phase = AckPhase.INIT
        self.is_bw_probe_sample = False
        self.bw_probe_wait = 0.0
        self.prev_probe_too_high = False
        self._prev_probe_precautionary = False
        self._cycle_stamp = 0.0
        self._bw_probe_up_acked = 0
        self._bw_probe_up_rounds = 0
        self._probe_up_acked_per_inc = math.inf
        # ProbeRTT (2.16.2)
        self._probe_rtt_done_stamp: float | None = None
        self._probe_rtt_round_done = False

    def __repr__(self) -> str:
        return f"<BbrStateMachine {self.state.label}, acks: {self.ack_phase.value}>"

    # Startup and Drain (5.3.1, 5.3.2)

    def check_startup_done(self) -> None:
        """Leave Startup once the pipe was full (5.3.1.1)."""
        if self.state is State.STARTUP and self.full_pipe.reached:
            self._enter_drain()

    def handle_startup_high_loss(self) -> None:
        """End Startup because a full round lost too much (5.3.1.3); the caller judged the round."""
        model = self._model
        self.undo_state = State.STARTUP
        self.full_pipe.declare_full()
        bdp = model.bdp(model.bw)
        model.inflight_longterm = max(0 if math.isinf(bdp) else int(bdp), model.inflight_latest)

    def check_drain_done(self, now: float) -> None:
        """Leave Drain when the queue is gone, or after 3 rounds (5.3.2)."""
        if self.state is not State.DRAIN:
            return
        drained = self._sampler.inflight <= self._controls.inflight(self.state, gain=1.0, bw=self._model.bw)
        if drained or self._model.round_count > self._drain_start_round + p.DRAIN_MAX_ROUNDS:
            self._start_probe_bw_down(now)

    def _enter_drain(self) -> None:
        self.state = State.DRAIN
        self._drain_start_round = self._model.round_count

    # ProbeBW (5.3.3.9)

    def update_probe_bw_cycle_phase(self, sample: RateSample, now: float) -> None:
        """Advance the cycle of DOWN, CRUISE, REFILL and UP (UpdateProbeBWCyclePhase)."""
        if not self.full_pipe.reached or self._adapt_long_term_model(sample):
            return
        state = self.state
        if state is State.PROBE_BW_DOWN:
            if not self._start_probe_if_time(now) and self._is_time_to_cruise():
                self._start_probe_bw_cruise()
        elif state is State.PROBE_BW_CRUISE:
            self._start_probe_if_time(now)
        elif state is State.PROBE_BW_REFILL:
            if self._model.round_start:
                self.is_bw_probe_sample = True
                self._start_probe_bw_up(sample)
        elif state is State.PROBE_BW_UP and self._is_time_to_go_down(sample):
            self.prev_probe_too_high = False
            self._start_probe_bw_down(now)

    def handle_inflight_too_high(self, *, tx_in_flight: float, is_app_limited: bool, now: float) -> None:
        """Lower the long-term bound to what the lost packet saw, and stop probing (5.5.10.2)."""
        self.prev_probe_too_high = True
        self.is_bw_probe_sample = False
        if not is_app_limited:
            self._model.inflight_longterm = int(max(tx_in_flight, self._controls.target_inflight() * p.BETA))
        if self.state is State.PROBE_BW_UP:
            self.undo_state = State.PROBE_BW_UP
            self._start_probe_bw_down(now)

    def _start_probe_bw_down(self, now: float) -> None:
        """Slow down to drain what probing queued (StartProbeBW_DOWN)."""
        self._model.reset_congestion_signals()
        self._probe_up_acked_per_inc = math.inf
        self._pick_probe_wait()
        self._cycle_stamp = now
        self.ack_phase = AckPhase.PROBE_STOPPING
        self._start_round()
        self.state = State.PROBE_BW_DOWN

    def _start_probe_bw_cruise(self) -> None:
        self.state = State.PROBE_BW_CRUISE

    def _start_probe_bw_refill(self) -> None:
        """Fill the pipe for one round before probing above it (StartProbeBW_REFILL)."""
        self._model.reset_short_term_model()
        self._bw_probe_up_rounds = 0
        self._bw_probe_up_acked = 0
        self._prev_probe_precautionary = False
        self.ack_phase = AckPhase.REFILLING
        self._start_round()
        self.state = State.PROBE_BW_REFILL

    def _start_probe_bw_up(self, sample: RateSample) -> None:
        self.ack_phase = AckPhase.PROBE_STARTING
        self._start_round()
        self.full_pipe.restart(sample.delivery_rate)
        self.state = State.PROBE_BW_UP
        self._raise_inflight_longterm_slope()

    def _start_probe_if_time(self, now: float) -> bool:
        if now <= self._cycle_stamp + self.bw_probe_wait and not self._is_reno_coexistence_probe_time():
            return False
        self._start_probe_bw_refill()
        return True

    def _pick_probe_wait(self) -> None:
        # Randomized so that flows which share a bottleneck do not probe together (5.3.3.8.3).
        self._model.rounds_since_probe_up = int(self._uniform() * 2)
        self.bw_probe_wait = p.PROBE_WAIT_BASE + self._uniform()

    def _is_reno_coexistence_probe_time(self) -> bool:
        reno_rounds = self._controls.target_inflight() / self._model.smss
        return self._model.rounds_since_probe_up >= min(reno_rounds, p.RENO_ROUNDS)

    def _is_time_to_cruise(self) -> bool:
        inflight = self._sampler.inflight
        model = self._model
        if inflight > model.inflight_with_headroom():
            return False
        return inflight <= self._controls.inflight(self.state, gain=1.0, bw=model.max_bw)

    def _is_time_to_go_down(self, sample: RateSample) -> bool:
        longterm = self._model.inflight_longterm
        if self.prev_probe_too_high and self._sampler.inflight >= longterm:
            self._prev_probe_precautionary = True
            return True
        if self._controls.is_cwnd_limited and self._controls.cwnd >= longterm:
            # The long-term bound holds the flow, not the path: a plateau now says nothing.
            self.full_pipe.restart(sample.delivery_rate)
            return False
        return self.full_pipe.now

    def _adapt_long_term_model(self, sample: RateSample) -> bool:
        """Follow the probe's feedback; true if that started a new state (AdaptLongTermModel)."""
        model = self._model
        if model.round_start:
            if self.ack_phase is AckPhase.PROBE_STARTING:
                self.ack_phase = AckPhase.PROBE_FEEDBACK
            elif self.ack_phase is AckPhase.PROBE_STOPPING:
                self.is_bw_probe_sample = False
                self.ack_phase = AckPhase.INIT
                if self.state.is_probe_bw:
                    if not sample.is_app_limited:
                        model.advance_max_bw_filter()
                    if self._prev_probe_precautionary and not self.prev_probe_too_high:
                        self._start_probe_bw_refill()
                        return True
        if math.isinf(model.inflight_longterm):
            return False
        if not is_inflight_too_high(lost=sample.lost, tx_in_flight=sample.tx_in_flight):
            model.inflight_longterm = max(model.inflight_longterm, sample.tx_in_flight)
            if self.state is State.PROBE_BW_UP:
                self._probe_inflight_longterm_upward(sample.newly_acked)
        return False

    def _raise_inflight_longterm_slope(self) -> None:
        growth_this_round = 1 << self._bw_probe_up_rounds
        self._bw_probe_up_rounds = min(self._bw_probe_up_rounds + 1, p.PROBE_UP_MAX_ROUNDS)
        self._probe_up_acked_per_inc = max(self._controls.cwnd / growth_this_round, self._model.smss)

    def _probe_inflight_longterm_upward(self, newly_acked: int) -> None:
        model = self._model
        if not self._controls.is_cwnd_limited or self._controls.cwnd < model.inflight_longterm:
            return
        self._bw_probe_up_acked += newly_acked
        if self._bw_probe_up_acked >= self._probe_up_acked_per_inc:
            delta = int(self._bw_probe_up_acked / self._probe_up_acked_per_inc)
            self._bw_probe_up_acked -= int(delta * self._probe_up_acked_per_inc)
            model.inflight_longterm += delta * model.smss
        if model.round_start:
            self._raise_inflight_longterm_slope()

    # ProbeRTT (5.3.4.3)

    def check_probe_rtt(self, sample: RateSample, now: float) -> None:
        """Enter, hold and leave the state that empties the queue to measure the RTT (CheckProbeRTT)."""
        if self.state is not State.PROBE_RTT and self._model.probe_rtt_expired and not self.idle_restart:
            self.state = State.PROBE_RTT
            self._controls.save_cwnd(is_modulated=True)
            self._probe_rtt_done_stamp = None
            self.ack_phase = AckPhase.PROBE_STOPPING
            self._start_round()
        if self.state is State.PROBE_RTT:
            self._handle_probe_rtt(now)
        if sample.delivered > 0:
            self.idle_restart = False

    def check_probe_rtt_done(self, now: float) -> None:
        """Leave ProbeRTT if its time is over (CheckProbeRTTDone)."""
        if self._probe_rtt_done_stamp is not None and now > self._probe_rtt_done_stamp:
            self._model.probe_rtt_min_stamp = now
            self._controls.restore_cwnd()
            self._exit_probe_rtt(now)

    def _handle_probe_rtt(self, now: float) -> None:
        # The low rate is our own doing: it must not enter the bandwidth filter.
        self._sampler.mark_app_limited()
        if self._probe_rtt_done_stamp is None:
            if self._sampler.inflight <= self._controls.probe_rtt_cwnd():
                self._probe_rtt_done_stamp = now + p.PROBE_RTT_DURATION
                self._probe_rtt_round_done = False
                self._start_round()
            return
        if self._model.round_start:
            self._probe_rtt_round_done = True
        if self._probe_rtt_round_done:
            self.check_probe_rtt_done(now)

    def _exit_probe_rtt(self, now: float) -> None:
        self._model.reset_short_term_model()
        if self.full_pipe.reached:
            self._start_probe_bw_down(now)
            self._start_probe_bw_cruise()
        else:
            self.state = State.STARTUP

    # Undo (5.5.11.2)

    def return_to_undo_state(self) -> None:
        """Resume the probe that losses ended, as they were spurious."""
        undo_state, self.undo_state = self.undo_state, None
        if undo_state is None or undo_state is self.state:
            return
        if undo_state is State.STARTUP:
            self.full_pipe.forget_reached()
        if self.state is State.PROBE_RTT:
            return
        if undo_state is State.STARTUP:
            self.state = State.STARTUP
        else:
            self._start_probe_bw_refill()

    def _start_round(self) -> None:
        self._model.start_round(self._sampler.delivered)
