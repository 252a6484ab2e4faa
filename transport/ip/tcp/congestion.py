"""How much may be on its way: slow start, congestion avoidance, fast recovery (RFC 5681, RFC 6582 NewReno). Pure."""

from __future__ import annotations

from typing import Final

#: Segments that are sent at first (RFC 6928), and acknowledgements of the same that tell of a loss.
INITIAL_SEGMENTS: Final = 10
DUPLICATES: Final = 3


class NewReno:
    """The window of one connection, in bytes."""

    __slots__ = ("_counted", "_duplicates", "_mss", "_recover", "_threshold", "recovering", "window")

    def __init__(self, mss: int, start: int) -> None:
        """`start` is the first sequence number of data."""
        self.window = INITIAL_SEGMENTS * mss
        self.recovering = False
        self._mss = mss
        self._threshold = 1 << 30
        self._duplicates = 0
        self._counted = 0
        self._recover = start - 1

    def __repr__(self) -> str:
        return f"<NewReno window={self.window} recovering={self.recovering}>"

    def acknowledged(self, count: int, una: int, flight: int) -> bool:
        """`count` new bytes were acknowledged, up to `una`; `flight` are still on their way. Return whether the
        segment at `una` is lost too."""
        self._duplicates = 0
        if not self.recovering:
            self._grow(count)
            return False
        if una > self._recover:
            self.recovering = False
            self.window = min(self._threshold, max(flight, self._mss) + self._mss)
            return False
        self.window = max(self.window - count, 0) + self._mss
        return True

    def duplicate(self, una: int, highest: int, flight: int) -> bool:
        """The same was acknowledged again. Return whether the segment at `una` is to be sent again."""
        if self.recovering:
            self.window += self._mss
            return False
        self._duplicates += 1
        if self._duplicates < DUPLICATES or una <= self._recover:
            return False
        self._threshold = max(flight // 2, 2 * self._mss)
        self.window = self._threshold + DUPLICATES * self._mss
        self._recover = highest
        self.recovering = True
        return True

    def timed_out(self, highest: int, flight: int, *, again: bool) -> None:
        """Nothing came in time; `again` where that was so before."""
        if not again:
            self._threshold = max(flight // 2, 2 * self._mss)
        self.window = self._mss
        self.recovering = False
        self._duplicates = 0
        self._recover = highest

    def _grow(self, count: int) -> None:
        if self.window < self._threshold:
            self.window += min(count, 2 * self._mss)
            return
        self._counted += count
        if self._counted >= self.window:
            self._counted -= self.window
            self.window += self._mss
