"""How much a peer may send: a window that moves as data is consumed, grows while the reader keeps up and shrinks again.

Pure: time is an argument. A connection has one, and one for each of its streams. What windows of streams grow beyond
their first size comes from an `Allowance` that they share, so that no number of streams whose readers stall after a
quick start can take the connection's whole window and starve the rest.
"""

from __future__ import annotations

#: Part of the window that is consumed before new credit is worth a frame.
UPDATE_SHARE = 4
#: The window doubles where half of it was consumed in less than this many round trips for each window.
FAST_ROUND_TRIPS = 4.0
#: The window halves where half of it took more than this many round trips for each window.
SLOW_ROUND_TRIPS = 32.0
#: Seconds that a reader's rate is measured over at least. Readers that rest between bursts look quick over less.
RATE_SPAN = 0.125
#: Faster than any: the rate of a reader that was not measured yet.
UNKNOWN_RATE = float("inf")
#: Part of what is left of the allowance that one window leaves to others.
SHARE = 2


class Allowance:
    """Bytes that windows may grow by, together. Each takes at most half of what is left: there is always some."""

    __slots__ = ("free",)

    def __init__(self, size: int) -> None:
        self.free = size

    def __repr__(self) -> str:
        return f"<Allowance free={self.free}>"

    def take(self, wanted: int) -> int:
        """Return how much of `wanted` may be used."""
        taken = min(wanted, self.free // SHARE)
        self.free -= taken
        return taken

    def give_back(self, count: int) -> None:
        """Return what was taken."""
        self.free += count


class ReceiveWindow:
    """The peer may send up to `limit`; nothing is granted beyond `consumed` and the size of the window."""

    __slots__ = (
        "_allowance",
        "_epoch_consumed",
        "_epoch_start",
        "_maximum",
        "_smallest",
        "_span_consumed",
        "_span_start",
        "consumed",
        "limit",
        "rate",
        "size",
    )

    def __init__(self, size: int, maximum: int, allowance: Allowance | None = None) -> None:
        self.size = self._smallest = size
        self._maximum = max(size, maximum)
        self._allowance = allowance
        self.limit = size
        "The highest offset that was granted."
        self.consumed = 0
        self.rate = UNKNOWN_RATE
        "Bytes a second that its reader took, over the last `RATE_SPAN` and the pause that may have ended it."
        self._epoch_start = -1.0
        self._epoch_consumed = 0
        self._span_start = 0.0
        self._span_consumed = 0

    def __repr__(self) -> str:
        return f"<ReceiveWindow consumed={self.consumed} limit={self.limit} size={self.size}>"

    def consume(self, count: int) -> bool:
        """Count bytes that the user took; True where the peer should hear of new credit."""
        self.consumed += count
        return self.consumed + self.size - self.limit >= self.size // UPDATE_SHARE

    def extend(self, now: float, round_trip: float) -> int:
        """Move the window up to what was consumed, fit its size to the reader's pace, and return the new limit."""
        in_epoch = self.consumed - self._epoch_consumed
        if self._epoch_start < 0:
            self._start_epoch(now)
            self._span_start = now
            self._span_consumed = self.consumed
        elif in_epoch * 2 > self.size:
            # How many round trips a whole window takes its reader, times `round_trip`.
            period = (now - self._epoch_start) * self.size / in_epoch
            if period < FAST_ROUND_TRIPS * round_trip:
                self._resize(min(self.size * 2, self._maximum))
            elif period > SLOW_ROUND_TRIPS * round_trip:
                self._resize(max(self.size // 2, self._smallest))
            self._start_epoch(now)
        self.limit = max(self.limit, self.consumed + self.size)
        if now - self._span_start >= RATE_SPAN:
            self.rate = (self.consumed - self._span_consumed) / (now - self._span_start)
            self._span_start = now
            self._span_consumed = self.consumed
        return self.limit

    def release(self) -> None:
        """Nothing more will be granted: give back what the window grew by. Idempotent."""
        self._resize(min(self.size, self._smallest))

    def _resize(self, size: int) -> None:
        allowance = self._allowance
        if size > self.size:
            self.size += size - self.size if allowance is None else allowance.take(size - self.size)
        elif size < self.size:
            if allowance is not None:
                allowance.give_back(self.size - size)
            self.size = size

    def _start_epoch(self, now: float) -> None:
        self._epoch_start = now
        self._epoch_consumed = self.consumed
