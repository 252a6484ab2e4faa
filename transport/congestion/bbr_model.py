"""BBR's model of the path: how fast it delivers, how long it is, how much it holds (draft-ietf-ccwg-bbr 5.5).

`Bbr` feeds it one rate sample per batch of acknowledgments; the state machine and the control parameters read it.
Names follow the draft. Nothing here decides a state transition.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyconnector.transport.congestion import bbr_parameters as p
from pyconnector.transport.congestion.windowed_filter import WindowedMaxFilter

if TYPE_CHECKING:
    from pyconnector.transport.congestion.delivery_rate import RateSample


class PathModel:
    """Estimates at two time scales: max_bw and inflight_longterm, bw_shortterm and inflight_shortterm."""

    __slots__ = (
        "_extra_acked_delivered",
        "_extra_acked_filter",
        "_extra_acked_interval_start",
        "_max_bw_filter",
        "bw",
        "bw_latest",
        "bw_shortterm",
        "cycle_count",
        "extra_acked",
        "inflight_latest",
        "inflight_longterm",
        "inflight_shortterm",
        "is_loss_in_round",
        "loss_round_delivered",
        "loss_round_start",
        "max_bw",
        "min_pipe_cwnd",
        "min_rtt",
        "min_rtt_stamp",
        "next_round_delivered",
        "probe_rtt_expired",
        "probe_rtt_min_delay",
        "probe_rtt_min_stamp",
        "round_count",
        "round_start",
        "rounds_since_probe_up",
        "smss",
    )

    def __init__(self, *, smss: int) -> None:
        self.set_smss(smss)
        # rounds (5.5.1)
        self.next_round_delivered = 0
        self.round_start = False
        self.round_count = 0
        self.rounds_since_probe_up = 0
        # data rate (5.5.2)
        self.max_bw = 0.0
        self.bw_shortterm = math.inf
        self.bw = 0.0
        self.cycle_count = 0
        self._max_bw_filter = WindowedMaxFilter()
        # round-trip time (5.3.4.3)
        self.min_rtt = math.inf
        self.min_rtt_stamp = 0.0
        self.probe_rtt_min_delay = math.inf
        self.probe_rtt_min_stamp = 0.0
        self.probe_rtt_expired = False
        # data volume (5.5.9, 5.5.10)
        # Whole bytes where finite: the window that it bounds is compared with it for equality.
        self.inflight_longterm: float = math.inf
        self.inflight_shortterm = math.inf
        self.extra_acked = 0.0
        self._extra_acked_interval_start = 0.0
        self._extra_acked_delivered = 0
        self._extra_acked_filter = WindowedMaxFilter()
        # the latest round (5.5.10.3)
        self.bw_latest = 0.0
        self.inflight_latest = 0
        self.is_loss_in_round = False
        self.loss_round_start = False
        self.loss_round_delivered = 0

    def __repr__(self) -> str:
        return (
            f"<PathModel bw={self.bw:.0f} max_bw={self.max_bw:.0f} min_rtt={self.min_rtt:.6f} "
            f"longterm={self.inflight_longterm} shortterm={self.inflight_shortterm} rounds={self.round_count}>"
        )

    def set_smss(self, smss: int) -> None:
        """Count in packets of this size (2.2, C.SMSS)."""
        self.smss = smss
        self.min_pipe_cwnd = p.MIN_PIPE_PACKETS * smss

    def start_clock(self, now: float) -> None:
        """Date the still empty filters to `now` (5.2.1)."""
        self.min_rtt_stamp = self.probe_rtt_min_stamp = now
        self.restart_ack_aggregation(now)

    # Rounds and bandwidth

    def start_round(self, delivered: int) -> None:
        """End the present round at the next acknowledgment of a packet sent from now on (5.5.1, StartRound)."""
        self.next_round_delivered = delivered

    def update_max_bw(self, sample: RateSample, delivered: int) -> None:
        """Count rounds and let the sample into the bandwidth filter, unless the application held it down (5.5.5)."""
        if sample.prior_delivered >= self.next_round_delivered:
            self.start_round(delivered)
            self.round_count += 1
            self.rounds_since_probe_up += 1
            self.round_start = True
        else:
            self.round_start = False
        rate = sample.delivery_rate
        if rate > 0 and (rate >= self.max_bw or not sample.is_app_limited):
            self.max_bw = self._max_bw_filter.update(rate, time=self.cycle_count, window=p.MAX_BW_FILTER_LENGTH)

    def advance_max_bw_filter(self) -> None:
        """Begin the next ProbeBW cycle in the bandwidth filter (5.5.6)."""
        self.cycle_count += 1

    def bound_bw(self) -> None:
        """Settle the bandwidth that pacing uses (5.5.10.3, BoundBWForModel)."""
        self.bw = min(self.max_bw, self.bw_shortterm)

    # Aggregation

    def restart_ack_aggregation(self, now: float) -> None:
        """Begin a new interval after silence (5.4.1, which forgets that what the old one delivered goes with it)."""
        self._extra_acked_interval_start = now
        self._extra_acked_delivered = 0

    def update_ack_aggregation(self, newly_acked: int, *, cwnd: int, now: float, full_bw_reached: bool) -> None:
        """Estimate how much more is acknowledged at once than the bandwidth explains (5.5.9)."""
        expected = self.bw * (now - self._extra_acked_interval_start)
        if self._extra_acked_delivered <= expected:
            self._extra_acked_delivered = 0
            self._extra_acked_interval_start = now
            expected = 0.0
        self._extra_acked_delivered += newly_acked
        extra = min(self._extra_acked_delivered - expected, cwnd, self.bw * p.EXTRA_ACKED_MAX_TIME)
        window = p.EXTRA_ACKED_FILTER_LENGTH if full_bw_reached else 1
        self.extra_acked = self._extra_acked_filter.update(extra, time=self.round_count, window=window)

    # Congestion signals

    def update_latest_delivery_signals(self, sample: RateSample, delivered: int) -> None:
        """Keep the best rate and volume of this round, and see whether a loss round ends (5.5.10.3)."""
        self.bw_latest = max(self.bw_latest, sample.delivery_rate)
        self.inflight_latest = max(self.inflight_latest, sample.delivered)
        self.loss_round_start = sample.prior_delivered >= self.loss_round_delivered
        if self.loss_round_start:
            self.loss_round_delivered = delivered

    def advance_latest_delivery_signals(self, sample: RateSample) -> None:
        """Start the next round's best values from this sample (5.5.10.3)."""
        if self.loss_round_start:
            self.bw_latest = sample.delivery_rate
            self.inflight_latest = sample.delivered

    def reset_congestion_signals(self) -> None:
        """Forget the losses and deliveries of this round (5.5.10.3)."""
        self.is_loss_in_round = False
        self.bw_latest = 0.0
        self.inflight_latest = 0

    def adapt_lower_bounds(self, cwnd: int) -> None:
        """Slow towards what was last delivered, by at most BETA (5.5.10.3, InitLowerBounds and LossLowerBounds)."""
        if math.isinf(self.bw_shortterm):
            self.bw_shortterm = self.max_bw
        if math.isinf(self.inflight_shortterm):
            self.inflight_shortterm = cwnd
        self.bw_shortterm = max(self.bw_latest, p.BETA * self.bw_shortterm)
        self.inflight_shortterm = max(self.inflight_latest, p.BETA * self.inflight_shortterm)

    def reset_short_term_model(self) -> None:
        """Drop the bounds that losses in this cycle set (5.5.10.3)."""
        self.bw_shortterm = math.inf
        self.inflight_shortterm = math.inf

    # Round-trip time

    def update_min_rtt(self, rtt: float, now: float) -> None:
        """Keep the least RTT of 5 s, which schedules ProbeRTT, and of 10 s, which makes the BDP (5.3.4.3)."""
        self.probe_rtt_expired = now > self.probe_rtt_min_stamp + p.PROBE_RTT_INTERVAL
        if rtt < self.probe_rtt_min_delay or self.probe_rtt_expired:
            self.probe_rtt_min_delay = rtt
            self.probe_rtt_min_stamp = now
        min_rtt_expired = now > self.min_rtt_stamp + p.MIN_RTT_FILTER_LENGTH
        if self.probe_rtt_min_delay < self.min_rtt or min_rtt_expired:
            self.min_rtt = self.probe_rtt_min_delay
            self.min_rtt_stamp = self.probe_rtt_min_stamp

    # Volumes

    def bdp(self, bw: float) -> float:
        """Return the bandwidth-delay product at `bw`; infinite before the first RTT sample (5.6.4.2)."""
        return bw * self.min_rtt if self.min_rtt < math.inf else math.inf

    def inflight_with_headroom(self) -> float:
        """Return the volume that leaves room for other flows (5.3.3.9)."""
        if math.isinf(self.inflight_longterm):
            return math.inf
        headroom = max(self.smss, p.HEADROOM * self.inflight_longterm)
        return max(self.inflight_longterm - headroom, self.min_pipe_cwnd)


def is_inflight_too_high(*, lost: int, tx_in_flight: int) -> bool:
    """Tell whether more than 2 % of what was in flight got lost (5.5.10.2)."""
    return lost > tx_in_flight * p.LOSS_THRESHOLD


def inflight_at_loss(*, size: int, tx_in_flight: int, lost: int) -> float:
    """Return the volume in flight at which losses crossed the threshold, within the lost packet (5.5.10.2)."""
    inflight_prev = tx_in_flight - size
    lost_prev = lost - size
    lost_prefix = (p.LOSS_THRESHOLD * inflight_prev - lost_prev) / (1 - p.LOSS_THRESHOLD)
    return inflight_prev + lost_prefix
