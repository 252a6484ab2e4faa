"""How long an acknowledgement is waited for (RFC 6298). Pure."""

from __future__ import annotations

from typing import Final

#: Seconds: before anything is measured, and bounds. The lower one is below the RFC's second, as it is in every kernel:
#: a client that delays its acknowledgements does so for 40 ms.
INITIAL_RTO: Final = 1.0
MIN_RTO, MAX_RTO = 0.2, 60.0


class RoundTrip:
    """Smoothed round trip, and the timeout that follows of it."""

    __slots__ = ("_rto", "_shift", "_variance", "smoothed")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._variance = 0.0
        self._rto = INITIAL_RTO
        self._shift = 0

    @property
    def timeout(self) -> float:
        """Seconds to wait now."""
        return min(self._rto * 2.0**self._shift, MAX_RTO)

    def measured(self, seconds: float) -> None:
        """Take one measurement, of what was sent once (Karn)."""
        if self.smoothed is None:
            self.smoothed, self._variance = seconds, seconds / 2
        else:
            self._variance += (abs(self.smoothed - seconds) - self._variance) / 4
            self.smoothed += (seconds - self.smoothed) / 8
        self._rto = min(max(self.smoothed + 4 * self._variance, MIN_RTO), MAX_RTO)
        self._shift = 0

    def back_off(self) -> None:
        """Nothing came in time: wait twice as long."""
        self._shift = min(self._shift + 1, 16)

    def progressed(self) -> None:
        """Something new was acknowledged: wait no longer than was measured (RFC 6298 5.7 leaves that open)."""
        self._shift = 0
