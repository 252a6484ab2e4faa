"""What the connector is to reach beside the peer, as ratios: printed beside what was measured (docs/performance.md).

They are meant for two quiet cores, with the extra `fast`. Rows with four connections have targets of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Ends the name of a row with four connections.
FOUR = ", 4 connections"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound of the ratio to the peer."""

    bound: float
    at_least: bool = False
    "Else at most."

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    def is_met(self, ratio: float) -> bool:
        """Whether `ratio` is on the right side."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


def _of(row: str, figure: str, one: float, four: float | None = None, *, at_least: bool = False) -> None:
    TARGETS[row, figure] = Target(one, at_least)
    if four is not None:
        TARGETS[row + FOUR, figure] = Target(four, at_least)


#: By row and figure.
TARGETS: dict[tuple[str, str], Target] = {}
_of("HTTP 1 KiB, 1 in flight", "p50", 0.85, 0.8)
_of("HTTP 1 KiB, 64 in flight", "rate", 1.0, 1.2, at_least=True)
_of("HTTP 1 KiB, 64 in flight", "CPU per unit", 0.8, 0.65)
_of("HTTP 1 KiB, 64 in flight", "p99", 1.0, 0.9)
for _flight in (1, 4):
    _of(f"10 MiB down, {_flight} in flight", "rate", 0.9, 1.0, at_least=True)
    _of(f"10 MiB down, {_flight} in flight", "CPU per MB", 1.0, 0.95)
    _of(f"10 MiB up, {_flight} in flight", "rate", 1.3, 1.5, at_least=True)
    _of(f"10 MiB up, {_flight} in flight", "CPU per MB", 0.7, 0.6)
_of("TCP 64 B ping-pong, 1 in flight", "p50", 1.0, 0.9)
_of("TCP 64 B ping-pong, 32 in flight", "rate", 0.85, 1.0, at_least=True)
_of("TCP 64 B ping-pong, 32 in flight", "CPU per unit", 1.1, 1.0)
_of("resident memory, idle", "resident", 1.05)
for _held in (1000, 10_000):
    _of(f"resident memory per held stream, {_held} held", "resident", 0.3)
_of("30 ms RTT, 1.0% loss, 10 MiB down", "rate", 3.0, at_least=True)
_of("over HTTP/2: HTTP 1 KiB, 64 in flight", "rate", 1.0, at_least=True)
_of("over HTTP/2: HTTP 1 KiB, 64 in flight", "CPU per unit", 0.9)
