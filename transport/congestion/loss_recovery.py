"""How BBR answers losses: rounds with loss, Startup's exit by loss, and the undo of what proved spurious.

draft-ietf-ccwg-bbr 5.3.1.3, 5.5.10.3, 5.5.11 and 5.6.4.4. Recovery lasts from a loss to the first round trip without
one; QUIC has no recovery point of its own that fits (RFC 9002 7.3.2 ends a period by the first packet sent in it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconnector.transport.congestion import bbr_parameters as p
from pyconnector.transport.congestion.bbr_model import is_inflight_too_high
from pyconnector.transport.congestion.bbr_states import State

if TYPE_CHECKING:
    from pyconnector.transport.congestion.bbr_control import Controls
    from pyconnector.transport.congestion.bbr_model import PathModel
    from pyconnector.transport.congestion.bbr_state_machine import BbrStateMachine
    from pyconnector.transport.congestion.delivery_rate import DeliveryRateSampler, RateSample

#: Losses of one recovery remembered to recognise that all of them were spurious. More are taken for real.
MAX_UNDO_PACKETS = 64


class LossRecovery:
    """The losses of the present recovery, and the state to return to if they were none."""

    __slots__ = (
        "_controls",
        "_last_lost_id",
        "_machine",
        "_model",
        "_pending",
        "_sampler",
        "_undo_bw_shortterm",
        "_undo_inflight_longterm",
        "_undo_inflight_shortterm",
        "is_recovering",
        "loss_ranges",
    )

    def __init__(
        self, sampler: DeliveryRateSampler, model: PathModel, controls: Controls, machine: BbrStateMachine
    ) -> None:
        self._sampler = sampler
        self._model = model
        self._controls = controls
        self._machine = machine
        self.is_recovering = False
        self.loss_ranges = 0
        "Discontiguous ranges of packets lost since the last loss round ended."
        self._last_lost_id = -2
        self._pending: list[int] = []
        self._undo_bw_shortterm = 0.0
        self._undo_inflight_shortterm = 0.0
        self._undo_inflight_longterm = 0.0

    def __repr__(self) -> str:
        return f"<LossRecovery recovering={self.is_recovering} ranges={self.loss_ranges} pending={len(self._pending)}>"

    @property
    def can_undo(self) -> bool:
        """Whether late acknowledgments may yet show that the last losses were spurious."""
        return bool(self._pending)

    def note_loss(self, packet_id: int) -> None:
        """Count one lost packet (5.5.10.2, NoteLoss); the first of a recovery saves the state before it.

        The draft's pseudocode saves with the first loss of each round, but a probe that ends by loss begins a round in
        the midst of the losses: their undo would restore what they already lowered. Its text saves once a recovery.
        """
        model = self._model
        if not model.is_loss_in_round:
            model.is_loss_in_round = True
            model.loss_round_delivered = self._sampler.delivered
        if self._begin_recovery():
            self._pending.append(packet_id)
        elif self._pending:
            self._pending.append(packet_id)
            if len(self._pending) > MAX_UNDO_PACKETS:
                self._pending.clear()
        if packet_id != self._last_lost_id + 1:
            self.loss_ranges += 1
        self._last_lost_id = packet_id

    def on_persistent_congestion(self) -> None:
        """Fall back to one packet, as upon a retransmission timeout (5.6.4.4, OnEnterRTO)."""
        self._begin_recovery()
        self._controls.collapse_cwnd(self._sampler.inflight)

    def _begin_recovery(self) -> bool:
        if self.is_recovering:
            self._controls.save_cwnd(is_modulated=True)
            return False
        model = self._model
        self._controls.save_cwnd(is_modulated=self._machine.state is State.PROBE_RTT)
        self._machine.undo_state = None
        self._undo_bw_shortterm = model.bw_shortterm
        self._undo_inflight_shortterm = model.inflight_shortterm
        self._undo_inflight_longterm = model.inflight_longterm
        self.is_recovering = True
        return True

    def end_loss_round(self) -> None:
        """Slow down if the round lost packets (5.5.10.3, UpdateCongestionSignals); end the recovery if it did not."""
        model = self._model
        if model.is_loss_in_round:
            if not self._machine.state.is_probing:
                model.adapt_lower_bounds(self._controls.cwnd)
            model.is_loss_in_round = False
        elif self.is_recovering:
            self.is_recovering = False
            self._pending.clear()
            self._controls.restore_cwnd()

    def check_startup_high_loss(self, sample: RateSample) -> None:
        """With the end of a loss round, end Startup if it lost over 2 % in at least 6 places (5.3.1.3)."""
        if (
            self._machine.state is State.STARTUP
            and self.loss_ranges >= p.STARTUP_FULL_LOSS_COUNT
            and is_inflight_too_high(lost=sample.lost, tx_in_flight=sample.tx_in_flight)
        ):
            self._machine.handle_startup_high_loss()
        self.loss_ranges = 0

    def on_late_acks(self, is_acked: Callable[[int], bool]) -> None:
        """Undo the response to this recovery's losses once `is_acked` was seen to hold for all of them (5.5.11.2)."""
        pending = self._pending
        if not pending:
            return
        while is_acked(pending[-1]):
            pending.pop()
            if not pending:
                self._undo()
                return

    def _undo(self) -> None:
        model, machine = self._model, self._machine
        self._controls.restore_cwnd()
        self.is_recovering = False
        model.is_loss_in_round = False
        machine.full_pipe.restart()
        model.bw_shortterm = max(model.bw_shortterm, self._undo_bw_shortterm)
        model.inflight_shortterm = max(model.inflight_shortterm, self._undo_inflight_shortterm)
        model.inflight_longterm = max(model.inflight_longterm, self._undo_inflight_longterm)
        machine.return_to_undo_state()
