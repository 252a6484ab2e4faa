"""Spacing of packets at a given rate, in bursts that timers of a millisecond can serve (draft-ietf-ccwg-bbr 5.6.2).

The draft's departure clock, with two allowances: a burst (the send quantum) may leave ahead of the clock, and a sender
that woke late from a wait may catch up by a bounded time, since an event loop rounds its timers up.
"""

from __future__ import annotations

#: How much lateness the sender may make up for: event loops round timers up to milliseconds, and on a busy machine a
#: process waits for its turn. A rate that falls short of what BBR asked for would be taken for the path's, and lowered
#: again with the next loss. Meanwhile the bottleneck drained by as much, and the window bounds the burst.
TIMER_LATENESS = 0.010
#: Packets that may leave at once after silence, as an initial window may (RFC 9002 7.7): a short response waits for no
#: clock then.
IDLE_BURST = 10
#: Sums of floating-point times are compared with this tolerance.
CLOCK_ROUNDING = 1e-9


class Pacer:
    """A departure clock. `next_send_time` asks, `on_sent` pays."""

    __slots__ = (
        "_departure",
        "_is_fresh",
        "_is_idle",
        "_packet_time",
        "_quantum_time",
        "_reserved",
        "_seconds_per_byte",
        "_smss",
        "is_holding",
        "was_asked",
    )

    def __init__(self, *, smss: int) -> None:
        self._smss = smss
        self._departure = 0.0
        self._seconds_per_byte = 0.0
        self._packet_time = 0.0
        self._quantum_time = 0.0
        # Time of packets that were built but not yet paid for with their true size.
        self._reserved = 0.0
        self._is_fresh = True
        self._is_idle = False
        self.is_holding = False
        "Whether the last question was answered with a time to wait for."
        self.was_asked = False
        "Whether a packet was asked for; whoever draws the conclusion clears it."

    def __repr__(self) -> str:
        rate = 1 / self._seconds_per_byte if self._seconds_per_byte else 0.0
        return f"<Pacer rate={rate:.0f} holding={self.is_holding}>"

    def set_rate(self, rate: float, *, quantum: int) -> None:
        """Pace at `rate` bytes a second in bursts of `quantum` bytes from now on."""
        self._seconds_per_byte = 1 / rate
        self._packet_time = self._smss / rate
        self._quantum_time = quantum / rate

    def set_packet_size(self, size: int) -> None:
        """Set aside time for packets of this size from now on."""
        self._packet_time *= size / self._smss
        self._smss = size

    def begin(self, *, is_idle: bool = False) -> None:
        """Start an attempt to send, `is_idle` with nothing in flight: nothing is set aside yet."""
        self._reserved = 0.0
        self._is_fresh = True
        self._is_idle = is_idle

    def next_send_time(self, now: float) -> float | None:
        """Return None if a packet may leave now, else the time at which a whole burst may."""
        self.was_asked = True
        if self._is_fresh:
            self._is_fresh = False
            # A sender that this clock held and that woke late catches up; one that was silent for want of data or
            # window earns no burst, but after a full silence.
            credit = TIMER_LATENESS if self.is_holding else 0.0
            if self._is_idle:
                credit = max(credit, IDLE_BURST * self._packet_time - self._quantum_time)
            self._departure = max(self._departure, now - credit)
        departure = self._departure + self._reserved
        self.is_holding = departure + self._packet_time > now + self._quantum_time + CLOCK_ROUNDING
        return departure if self.is_holding else None

    def reserve(self) -> None:
        """Set time aside for one packet of full size that was built."""
        self._reserved += self._packet_time

    def on_sent(self, size: int) -> None:
        """Advance the clock by a packet's true size, which replaces what was reserved for the burst."""
        self._reserved = 0.0
        self._departure += size * self._seconds_per_byte
