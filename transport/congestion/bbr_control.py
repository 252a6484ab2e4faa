"""What BBR tells the sender: pacing rate, send quantum and congestion window (draft-ietf-ccwg-bbr 5.6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyconnector.transport.congestion import bbr_parameters as p
from pyconnector.transport.congestion.bbr_states import State

if TYPE_CHECKING:
    from pyconnector.transport.congestion.bbr_model import PathModel


class Controls:
    """The control parameters, and how the model sets them after each batch of acknowledgments."""

    __slots__ = (
        "_initial_rtt",
        "_limited_before",
        "_limited_now",
        "cwnd",
        "initial_cwnd",
        "model",
        "pacing_rate",
        "prior_cwnd",
        "send_quantum",
    )

    def __init__(self, model: PathModel, *, initial_cwnd: int) -> None:
        self.model = model
        self.initial_cwnd = initial_cwnd
        self.cwnd = initial_cwnd
        self.prior_cwnd = 0
        "The last cwnd that neither loss recovery nor ProbeRTT had cut."
        self._limited_now = False
        self._limited_before = False
        self._initial_rtt = math.inf
        self.pacing_rate = p.STARTUP_PACING_GAIN * initial_cwnd / p.INITIAL_RTT_GUESS
        self.send_quantum = 0
        self.set_send_quantum()

    def __repr__(self) -> str:
        return f"<Controls cwnd={self.cwnd} pacing_rate={self.pacing_rate:.0f} send_quantum={self.send_quantum}>"

    # Pacing (5.6.2, 5.6.3)

    def init_pacing_rate(self, rtt: float) -> None:
        """Replace the guess of the first flight once an RTT is known, and raise it with each lower one.

        The first RTT of a QUIC connection holds what both ends took to compute the handshake.
        """
        if rtt < self._initial_rtt:
            rate = p.STARTUP_PACING_GAIN * self.initial_cwnd / max(rtt, p.INITIAL_RTT_GUESS)
            self.pacing_rate = rate if math.isinf(self._initial_rtt) else max(rate, self.pacing_rate)
            self._initial_rtt = rtt
            self.set_send_quantum()

    def set_pacing_rate(self, gain: float, *, full_bw_reached: bool) -> None:
        """Pace at 1 % below `gain` times the bandwidth; until the pipe was full, only ever faster."""
        rate = gain * self.model.bw * (1 - p.PACING_MARGIN)
        if rate > self.pacing_rate or (full_bw_reached and rate > 0):
            self.pacing_rate = rate

    def set_send_quantum(self) -> None:
        """Let one burst be a millisecond's worth, at least 2 packets and at most 64 KiB."""
        quantum = min(int(self.pacing_rate * p.SEND_QUANTUM_TIME), p.SEND_QUANTUM_LIMIT)
        self.send_quantum = max(quantum, p.SEND_QUANTUM_PACKETS * self.model.smss)

    # Volume (5.6.4.2)

    def inflight(self, state: State, *, gain: float, bw: float) -> float:
        """Return the volume that `gain` times the BDP at `bw` asks for (Inflight)."""
        return self._quantization_budget(self._bdp_multiple(gain, bw), state)

    def target_inflight(self) -> float:
        """Return the estimated BDP, unless congestion cut the window below it (5.3.3.8.3)."""
        return min(self._bdp_multiple(1.0, self.model.bw), self.cwnd)

    def probe_rtt_cwnd(self) -> int:
        """Return half the BDP, the window of ProbeRTT (5.6.4.5)."""
        half = self._bdp_multiple(p.PROBE_RTT_CWND_GAIN, self.model.bw)
        return max(int(half), self.model.min_pipe_cwnd)

    def _bdp_multiple(self, gain: float, bw: float) -> float:
        bdp = self.model.bdp(bw)
        return self.initial_cwnd if math.isinf(bdp) else gain * bdp

    def _quantization_budget(self, inflight: float, state: State) -> float:
        inflight = max(inflight, self.send_quantum, self.model.bw * p.HOST_TIME, self.model.min_pipe_cwnd)
        if state is State.PROBE_BW_UP:
            inflight += 2 * self.model.smss
        return inflight

    @property
    def is_cwnd_limited(self) -> bool:
        """Whether the window was used up at some point of the last packet-timed round (2.2)."""
        return self._limited_now or self._limited_before

    def note_inflight(self, inflight: int) -> None:
        """Take in how much was in flight before the acknowledgments: within a packet of the window is used up."""
        if inflight + self.model.smss > self.cwnd:
            self._limited_now = True

    def start_round(self) -> None:
        """Begin a packet-timed round."""
        self._limited_before = self._limited_now
        self._limited_now = False

    # Congestion window (5.6.4.4 to 5.6.4.7)

    def set_cwnd(self, state: State, *, newly_acked: int, delivered: int, full_bw_reached: bool) -> None:
        """Move the window towards what the model wants, never faster than data is acknowledged."""
        model = self.model
        wanted = self._bdp_multiple(state.cwnd_gain, model.bw) + model.extra_acked
        max_inflight = self._quantization_budget(wanted, state)
        cwnd = self.cwnd
        if full_bw_reached:
            cwnd = min(cwnd + newly_acked, int(max_inflight))
        elif cwnd < max_inflight or delivered < self.initial_cwnd:
            cwnd += newly_acked
        cwnd = max(cwnd, model.min_pipe_cwnd)
        if state is State.PROBE_RTT:
            cwnd = min(cwnd, self.probe_rtt_cwnd())
        self.cwnd = self._bound_cwnd_for_model(cwnd, state)

    def _bound_cwnd_for_model(self, cwnd: int, state: State) -> int:
        model = self.model
        cap = model.inflight_shortterm
        if state is State.PROBE_BW_CRUISE or state is State.PROBE_RTT:
            cap = min(cap, model.inflight_with_headroom())
        elif state.is_probe_bw:
            cap = min(cap, model.inflight_longterm)
        return int(min(cwnd, max(cap, model.min_pipe_cwnd)))

    def save_cwnd(self, *, is_modulated: bool) -> None:
        """Remember the window before recovery or ProbeRTT cuts it; `is_modulated` when one of them already has."""
        self.prior_cwnd = max(self.prior_cwnd, self.cwnd) if is_modulated else self.cwnd

    def restore_cwnd(self) -> None:
        """Return to at least the remembered window; the model's bounds apply at the next acknowledgment."""
        self.cwnd = max(self.cwnd, self.prior_cwnd)

    def collapse_cwnd(self, inflight: int) -> None:
        """Leave room for one packet, after persistent congestion (5.6.4.4, OnEnterRTO)."""
        self.cwnd = inflight + self.model.smss
