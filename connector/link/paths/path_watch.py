"""Whether losses on the path hold the connections back, from what they count themselves. Pure: time is an argument.

A loss-based congestion controller halves its window for a packet that a bad uplink lost. On such a path it sends as
much as that window allows, and no more than a few MB/s whatever the line carries; BBR looks at the rate of delivery
instead (docs/congestion.md). Losses of a controller that fills the line look alike, and then BBR costs nothing but CPU
time, little at such a rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Statistics

#: Seconds that a look must be away from the one before to count.
LEAST_INTERVAL = 0.5
#: Share of what the window allows from which a connection counts as held back by it.
USED_SHARE = 0.5
#: Bytes per second above which it is well served: more than most home uplinks carry, and a load at which the slower
#: engine takes a twentieth of a core.
PLENTY = 5_000_000
#: Losses in one interval below which they may be single accidents.
LEAST_LOST = 2
#: Bytes of a packet, to tell the share of them that was lost.
PACKET_SIZE = 1350
#: Least share of lost packets that matters.
LOSS_SHARE = 0.001
#: Held-back intervals that are enough, and for how many seconds each counts.
INTERVALS = 3
MEMORY = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of a path that holds connections back."""

    loss: float
    "Share of packets, in the intervals that counted."
    rate: float
    "Bytes per second of one connection, in the last of them."


@dataclass(frozen=True, slots=True)
class _Look:
    connection: Connection
    time: float
    sent: int
    lost: int


class PathWatch:
    """Looks at every connection from time to time. All of one connector share the path, so what is seen adds up."""

    def __init__(self) -> None:
        self._before: dict[int, _Look] = {}
        self._held_back: list[tuple[float, int, int]] = []  # when, packets sent, packets lost
        self.rate = 0.0

    def look(self, index: int, connection: Connection, statistics: Statistics, now: float) -> None:
        """Take the figures of connection `index` at `now`, in seconds of any clock."""
        lost = statistics.packets_lost or 0
        before = self._before.get(index)
        if before is not None and before.connection is connection and now - before.time < LEAST_INTERVAL:
            return
        self._before[index] = _Look(connection, now, statistics.bytes_sent, lost)
        window, round_trip = statistics.congestion_window, statistics.rtt_smoothed
        if before is None or before.connection is not connection or not window or not round_trip:
            return
        rate = (statistics.bytes_sent - before.sent) / (now - before.time)
        packets = max(1, (statistics.bytes_sent - before.sent) // PACKET_SIZE)
        lost -= before.lost
        if lost >= max(LEAST_LOST, packets * LOSS_SHARE) and USED_SHARE * window / round_trip <= rate < PLENTY:
            self._held_back.append((now, packets, lost))
            self.rate = rate

    def verdict(self, now: float) -> Verdict | None:
        """What holds the connections back, where that is certain enough."""
        self._held_back = [each for each in self._held_back if now - each[0] <= MEMORY]
        if len(self._held_back) < INTERVALS:
            return None
        packets = sum(sent for _, sent, _ in self._held_back)
        return Verdict(min(1.0, sum(lost for _, _, lost in self._held_back) / packets), self.rate)
