"""How much a peer may send: a window that moves as data is consumed and grows while the reader keeps up.

Pure: time is an argument. Streams and connections have one each.
"""

from __future__ import annotations

#: Part of the window that is consumed before new credit is worth a frame.
UPDATE_SHARE = 4
#: The window doubles where half of it was consumed in less than this many round trips for each window.
FAST_ROUND_TRIPS = 4.0


class ReceiveWindow:
    """The peer may send up to `limit`; nothing is granted beyond `consumed` and the size of the window."""

    __slots__ = ("_epoch_consumed", "_epoch_start", "_maximum", "consumed", "limit", "size")

    def __init__(self, size: int, maximum: int) -> None:
        self.size = size
        self._maximum = max(size, maximum)
        self.limit = size
        "The highest offset that was granted."
        self.consumed = 0
        self._epoch_start = -1.0
        self._epoch_consumed = 0

    def __repr__(self) -> str:
        return f"<ReceiveWindow consumed={self.consumed} limit={self.limit} size={self.size}>"

    def consume(self, count: int) -> bool:
        """Count bytes that the user took; True where the peer should hear of new credit."""
        self.consumed += count
        return self.consumed + self.size - self.limit >= self.size // UPDATE_SHARE

    def extend(self, now: float, round_trip: float) -> int:
        """Move the window up to what was consumed, grow it for a fast reader, and return the new limit."""
        in_epoch = self.consumed - self._epoch_consumed
        if self._epoch_start < 0:
            self._start_epoch(now)
        elif in_epoch * 2 > self.size:
            if (now - self._epoch_start) * self.size < FAST_ROUND_TRIPS * round_trip * in_epoch:
                self.size = min(self.size * 2, self._maximum)
            self._start_epoch(now)
        self.limit = max(self.limit, self.consumed + self.size)
        return self.limit

    def _start_epoch(self, now: float) -> None:
        self._epoch_start = now
        self._epoch_consumed = self.consumed
