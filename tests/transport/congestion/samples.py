"""Rate samples for tests that need one of them right and the rest of it plausible."""

from __future__ import annotations

from pyconnector.transport.congestion.delivery_rate import RateSample


def sample(
    *,
    rate: float = 100_000.0,
    rtt: float = 0.1,
    delivered: int = 10_000,
    prior_delivered: int = 0,
    tx_in_flight: int = 10_000,
    lost: int = 0,
    newly_acked: int = 1000,
    is_app_limited: bool = False,
) -> RateSample:
    return RateSample(
        rtt=rtt,
        delivery_rate=rate,
        is_app_limited=is_app_limited,
        delivered=delivered,
        prior_delivered=prior_delivered,
        tx_in_flight=tx_in_flight,
        lost=lost,
        newly_acked=newly_acked,
        newly_lost=0,
    )
