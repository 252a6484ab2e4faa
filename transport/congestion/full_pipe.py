"""The estimator of "the pipe is full": a plateau in the delivery rate (draft-ietf-ccwg-bbr 5.3.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.transport.congestion import bbr_parameters as p

if TYPE_CHECKING:
    from pyconnector.transport.congestion.delivery_rate import RateSample


class FullPipeEstimator:
    """Counts rounds in which sending faster brought less than 25 % more."""

    __slots__ = ("baseline", "now", "reached", "rounds")

    def __init__(self) -> None:
        self.baseline = 0.0
        self.rounds = 0
        self.now = False
        "Full since the present search began; ends ProbeBW_UP."
        self.reached = False
        "Full at least once in the life of the connection; ends Startup."

    def restart(self, baseline: float = 0.0) -> None:
        """Begin a search, with `baseline` as the rate to beat (ResetFullBW)."""
        self.baseline = baseline
        self.rounds = 0
        self.now = False

    def declare_full(self) -> None:
        """Take losses as proof instead of a plateau (5.3.1.3)."""
        self.now = True
        self.reached = True

    def forget_reached(self) -> None:
        """Return to before the first full pipe, as that finding was spurious (5.5.11.2)."""
        self.reached = False

    def check(self, sample: RateSample) -> None:
        """Judge the round that ends with this sample, unless the application held it down (CheckFullBWReached)."""
        if self.now or sample.is_app_limited:
            return
        if sample.delivery_rate >= self.baseline * p.FULL_BW_GROWTH:
            self.restart(sample.delivery_rate)
            return
        self.rounds += 1
        if self.rounds >= p.FULL_BW_ROUNDS:
            self.declare_full()
