"""BBR as one object: packets sent, acknowledged and lost go in; window, pacing rate and burst size come out.

This wires sampler, path model, state machine, loss recovery and control parameters in the order of
draft-ietf-ccwg-bbr 5.2. The engine's adapter is its only caller.
"""

from __future__ import annotations

from collections.abc import Callable

from pyconnector.transport.congestion.bbr_control import Controls
from pyconnector.transport.congestion.bbr_model import PathModel, inflight_at_loss, is_inflight_too_high
from pyconnector.transport.congestion.bbr_state_machine import BbrStateMachine, Uniform
from pyconnector.transport.congestion.bbr_states import State
from pyconnector.transport.congestion.delivery_rate import DeliveryRateSampler, RateSample
from pyconnector.transport.congestion.loss_recovery import LossRecovery


class Bbr:
    """Congestion control of one connection. Volumes in bytes, times in seconds, packet ids that only grow."""

    __slots__ = ("_started", "controls", "machine", "model", "recovery", "sampler")

    def __init__(self, *, smss: int, initial_cwnd: int, uniform: Uniform) -> None:
        self.sampler = DeliveryRateSampler()
        self.model = PathModel(smss=smss)
        self.controls = Controls(self.model, initial_cwnd=initial_cwnd)
        self.machine = BbrStateMachine(self.sampler, self.model, self.controls, uniform=uniform)
        self.recovery = LossRecovery(self.sampler, self.model, self.controls, self.machine)
        self._started = False

    def __repr__(self) -> str:
        return (
            f"<Bbr {self.machine.state.label} inflight={self.sampler.inflight} cwnd={self.controls.cwnd} "
            f"bw={self.model.bw:.0f} rounds={self.model.round_count}>"
        )

    # Packets

    def on_packet_sent(self, packet_id: int, size: int, now: float) -> None:
        """Count a packet into flight; a first one after silence restarts from idle (5.2.2)."""
        if not self.sampler.inflight:
            self._restart_from_idle(now)
        self.sampler.on_sent(packet_id, size, now)

    def on_packet_acked(self, packet_id: int, now: float) -> None:
        """Count one newly acknowledged packet; `on_ack_end` draws the conclusions."""
        self.sampler.on_acked(packet_id, now)

    def on_packet_expired(self, packet_id: int) -> None:
        """Forget a packet that is neither delivered nor lost."""
        self.sampler.on_expired(packet_id)

    def on_packet_lost(self, packet_id: int, now: float) -> None:
        """Count one packet declared lost, and stop a probe that loses too much (5.5.10.2, HandleLostPacket)."""
        lost = self.sampler.on_lost(packet_id)
        if lost is None:
            return
        self.recovery.note_loss(packet_id)
        machine = self.machine
        if machine.is_bw_probe_sample and is_inflight_too_high(lost=lost.lost, tx_in_flight=lost.tx_in_flight):
            at_loss = inflight_at_loss(size=lost.size, tx_in_flight=lost.tx_in_flight, lost=lost.lost)
            machine.handle_inflight_too_high(tx_in_flight=at_loss, is_app_limited=lost.is_app_limited, now=now)

    def on_rtt(self, rtt: float) -> None:
        """Take in the RTT of the newest acknowledged packet."""
        self.sampler.on_rtt(rtt)
        if not self.machine.full_pipe.reached:
            self.controls.init_pacing_rate(rtt)

    def on_ack_end(self, now: float) -> None:
        """Update model, state and control parameters from the acknowledgments and losses so far (5.2.3)."""
        sampler = self.sampler
        inflight = sampler.inflight
        sample = sampler.generate()
        if sample is None:
            return
        controls = self.controls
        controls.note_inflight(inflight + sample.newly_acked + sample.newly_lost)
        self._update_model_and_state(sample, now)
        machine = self.machine
        full_bw_reached = machine.full_pipe.reached
        controls.set_pacing_rate(machine.state.pacing_gain, full_bw_reached=full_bw_reached)
        controls.set_send_quantum()
        controls.set_cwnd(
            machine.state,
            newly_acked=sample.newly_acked,
            delivered=sampler.delivered,
            full_bw_reached=full_bw_reached,
        )

    # Unusual events

    def on_out_of_data(self) -> None:
        """Note that window and pacing allowed a packet but there was none to send (4.1.2.4)."""
        self.sampler.mark_app_limited()

    def on_late_acks(self, is_acked: Callable[[int], bool]) -> None:
        """Undo the response to the last losses if `is_acked` shows that they were spurious (5.2.5)."""
        self.recovery.on_late_acks(is_acked)

    def on_persistent_congestion(self) -> None:
        """Fall back to one packet, as upon a retransmission timeout (5.6.4.4, OnEnterRTO)."""
        self.recovery.on_persistent_congestion()

    # Steps

    def _update_model_and_state(self, sample: RateSample, now: float) -> None:
        """Run UpdateModelAndState of 5.2.3, in its order."""
        model, machine = self.model, self.machine
        delivered = self.sampler.delivered
        model.update_latest_delivery_signals(sample, delivered)
        model.update_max_bw(sample, delivered)
        if model.loss_round_start:
            self.recovery.end_loss_round()
        model.update_ack_aggregation(
            sample.newly_acked, cwnd=self.controls.cwnd, now=now, full_bw_reached=machine.full_pipe.reached
        )
        if model.round_start:
            self.controls.start_round()
            machine.full_pipe.check(sample)
        if model.loss_round_start:
            self.recovery.check_startup_high_loss(sample)
        machine.check_startup_done()
        machine.check_drain_done(now)
        machine.update_probe_bw_cycle_phase(sample, now)
        model.update_min_rtt(sample.rtt, now)
        machine.check_probe_rtt(sample, now)
        model.advance_latest_delivery_signals(sample)
        model.bound_bw()

    def _restart_from_idle(self, now: float) -> None:
        """Pace at the known bandwidth after silence, which also counts as a drained queue (5.4.1)."""
        if not self._started:
            # The engine names no time before its first packet.
            self._started = True
            self.model.start_clock(now)
        if not self.sampler.app_limited:
            return
        self.machine.idle_restart = True
        self.model.restart_ack_aggregation(now)
        state = self.machine.state
        if state.is_probe_bw:
            self.controls.set_pacing_rate(1.0, full_bw_reached=self.machine.full_pipe.reached)
        elif state is State.PROBE_RTT:
            self.machine.check_probe_rtt_done(now)
