"""Whether the path of one connection is dead or has collapsed, from what the connections count. Pure: time is given.

Dead: it asked for signs of life and heard nothing for some seconds, while others of this connector were heard. Where
none is heard it is the network, which may come back before the connections end, and there is nowhere to go.

Collapsed: it has had much more to send than it could for a while, at a small part of its own best rate, and losses or a
much longer round trip show that it is the path: visitors who read slowly cause neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pyconnector.transport.seam import Statistics

#: Seconds of silence, of the five after which QUIC ends a connection by itself: three signs of life went unanswered.
SILENCE = 3.5
#: Seconds within which another connection must have been heard.
HEARD = 1.5
#: Seconds between two looks after which all begins anew: this process stood still, and nothing was read meanwhile.
STANDSTILL = 2.0
#: Seconds for which a rate must have collapsed; the share of the best rate, and the rate below which that may be said.
COLLAPSE_SECONDS, COLLAPSE_SHARE, COLLAPSE_RATE = 10.0, 0.05, 100_000.0
#: Bytes that must wait for it to be the path that is too slow, and best rate from which a fall means anything.
BACKLOG, BEST_RATE = 256 * 1024, 1_000_000.0
#: Lost packets of those sent, or how many times the least round trip, that show it.
LOSS_SHARE, ROUND_TRIPS = 0.05, 10.0
#: Bytes of a packet, to tell how many were sent.
PACKET_SIZE = 1350


@dataclass(frozen=True, slots=True, kw_only=True)
class Sick:
    """A connection whose path should be left."""

    index: int
    dead: bool
    "Else it has collapsed."
    evidence: dict[str, str]


@dataclass(slots=True)
class _Path:
    """What is known of one connection."""

    key: Hashable
    time: float
    sent: int
    received: int
    lost: int
    heard: float = 0.0
    sent_when_heard: int = 0
    best: float = 0.0
    round_trip: float = 0.0
    "The least that was seen."
    slow_since: float | None = None
    slow_sent: int = 0
    slow_lost: int = 0
    rates: list[float] = field(default_factory=list)


class PathHealth:
    """Looks at every connection from time to time."""

    def __init__(self) -> None:
        self._paths: dict[int, _Path] = {}
        self._looked = 0.0

    def look(self, figures: Iterable[tuple[int, Hashable, Statistics]], now: float) -> list[Sick]:
        """Take the figures of all QUIC connections, each with what tells it from an earlier one of its index."""
        if now - self._looked > STANDSTILL:
            self._paths.clear()
        self._looked = now
        present = {index: (key, statistics) for index, key, statistics in figures}
        self._paths = {index: path for index, path in self._paths.items() if index in present}
        sick = []
        for index, (key, statistics) in present.items():
            path = self._paths.get(index)
            if path is None or path.key != key:
                lost = statistics.packets_lost or 0
                path = _Path(key, now, statistics.bytes_sent, statistics.bytes_received, lost, heard=now)
                path.sent_when_heard = statistics.bytes_sent
                self._paths[index] = path
                continue
            if (collapse := _collapse(path, statistics, now)) is not None:
                sick.append(Sick(index=index, dead=False, evidence=collapse))
            if statistics.bytes_received != path.received:
                path.received, path.heard, path.sent_when_heard = statistics.bytes_received, now, statistics.bytes_sent
            path.time, path.sent, path.lost = now, statistics.bytes_sent, statistics.packets_lost or 0
        return sick + [self._dead(index, present[index][1], now) for index in self._silent(now)]

    def _silent(self, now: float) -> list[int]:
        others = [path for path in self._paths.values() if now - path.heard <= HEARD]
        if not others:
            return []
        return [
            index
            for index, path in self._paths.items()
            if now - path.heard >= SILENCE and path.sent > path.sent_when_heard
        ]

    def _dead(self, index: int, statistics: Statistics, now: float) -> Sick:
        path = self._paths.pop(index)
        evidence = {
            "silent": f"{now - path.heard:.1f}s",
            "sentSince": f"{statistics.bytes_sent - path.sent_when_heard} bytes",
            **_engine(statistics),
        }
        return Sick(index=index, dead=True, evidence=evidence)


def _collapse(path: _Path, statistics: Statistics, now: float) -> dict[str, str] | None:
    """Return the evidence where the path has collapsed for long enough; it is counted anew then."""
    seconds = now - path.time
    if seconds <= 0:
        return None
    rate = (statistics.bytes_sent - path.sent) / seconds
    path.best = max(path.best, rate)
    if smoothed := statistics.rtt_smoothed:
        path.round_trip = min(path.round_trip or smoothed, smoothed)
    held_up = statistics.bytes_undelivered >= BACKLOG and path.best >= BEST_RATE
    if not held_up or rate > min(COLLAPSE_RATE, COLLAPSE_SHARE * path.best):
        path.slow_since = None
        return None
    if path.slow_since is None:
        path.slow_since, path.slow_sent, path.slow_lost = path.time, path.sent, path.lost
    if now - path.slow_since < COLLAPSE_SECONDS:
        return None
    sent = statistics.bytes_sent - path.slow_sent
    lost = (statistics.packets_lost or 0) - path.slow_lost
    share = lost / max(1, sent // PACKET_SIZE)
    longer = (statistics.rtt_smoothed or 0.0) / path.round_trip if path.round_trip else 1.0
    if share < LOSS_SHARE and longer < ROUND_TRIPS:
        return None
    path.slow_since = None
    return {
        "rate": f"{sent / COLLAPSE_SECONDS / 1000:.1f} kB/s",
        "bestRate": f"{path.best / 1e6:.1f} MB/s",
        "waiting": f"{statistics.bytes_undelivered} bytes",
        "lossNow": f"{share:.1%}",
        "leastRoundTrip": f"{path.round_trip * 1000:.0f}ms",
        **_engine(statistics),
    }


def _engine(statistics: Statistics) -> dict[str, str]:
    told = {"engine": statistics.engine}
    if statistics.rtt_smoothed is not None:
        told["roundTrip"] = f"{statistics.rtt_smoothed * 1000:.0f}ms"
    if statistics.packets_lost is not None:
        told["packetsLost"] = str(statistics.packets_lost)
    if statistics.congestion_window is not None:
        told["window"] = f"{statistics.congestion_window} bytes"
    return told
