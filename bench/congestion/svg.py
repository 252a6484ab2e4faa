"""A writer of small charts as SVG text: bars in groups, and lines over time. No numbers of congestion control here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

INK = "#0f172a"
MUTED = "#64748b"
GRID = "#e2e8f0"
PAPER = "#f8fafc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a chart stands, and the range of its value axis."""

    x: float
    y: float
    width: float
    height: float
    top: float
    "Greatest value of the axis."
    title: str
    unit: str


@dataclass(slots=True)
class Canvas:
    """Collects elements; `text` is the picture."""

    width: int
    height: int
    description: str
    _parts: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the SVG document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="{escape(self.description)}">'
        )
        paper = f'  <rect width="{self.width}" height="{self.height}" rx="10" fill="{PAPER}"/>'
        return "\n".join([head, paper, *self._parts, "</svg>", ""])

    def label(self, x: float, y: float, words: str, *, anchor: str = "start", color: str = INK, size: int = 12) -> None:
        """Write words."""
        self._parts.append(
            f'  <text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{color}" font-size="{size}">'
            f"{escape(words)}</text>"
        )

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Draw a bar, at least a hair high."""
        height = max(height, 1.0)
        box = f'x="{_n(x)}" y="{_n(y - height)}" width="{_n(width)}" height="{_n(height)}"'
        self._parts.append(f'  <rect {box} rx="2" fill="{color}"/>')

    def line(self, points: Sequence[tuple[float, float]], color: str, *, width: float = 1.6) -> None:
        """Draw a line through points."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(
            f'  <polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>'
        )

    def legend(self, x: float, y: float, entries: Sequence[tuple[str, str]]) -> None:
        """Write names beside samples of their colors."""
        for name, color in entries:
            self.bar(x, y, 10, 10, color)
            self.label(x + 15, y, name)
            x += 30 + 7 * len(name)

    def axes(self, frame: Frame) -> None:
        """Draw title, grid and value axis of a chart."""
        self.label(frame.x, frame.y - 18, frame.title, size=14)
        self.label(frame.x - 8, frame.y - 12, frame.unit, anchor="end", color=MUTED, size=10)
        step = nice_step(frame.top)
        for index in range(int(frame.top / step + 1e-9) + 1):
            y = frame.y + frame.height * (1 - index * step / frame.top)
            self.line([(frame.x, y), (frame.x + frame.width, y)], GRID, width=1)
            self.label(frame.x - 6, y + 4, f"{index * step:g}", anchor="end", color=MUTED, size=10)

    def bars(self, frame: Frame, groups: Sequence[tuple[str, Sequence[float]]], colors: Sequence[str]) -> None:
        """Draw groups of bars with the value above each."""
        self.axes(frame)
        room = frame.width / len(groups)
        for index, (name, values) in enumerate(groups):
            width = room * 0.8 / len(values)
            x = frame.x + index * room + room * 0.1
            self.label(x + room * 0.4, frame.y + frame.height + 16, name, anchor="middle", color=MUTED)
            for value, color in zip(values, colors, strict=True):
                height = frame.height * value / frame.top
                self.bar(x + 1, frame.y + frame.height, width - 2, height, color)
                self.label(x + width / 2, frame.y + frame.height - height - 4, _figure(value), anchor="middle", size=10)
                x += width

    def lines(
        self, frame: Frame, series: Sequence[Sequence[tuple[float, float]]], colors: Sequence[str], *, until: float
    ) -> None:
        """Draw values over time."""
        self.axes(frame)
        step = nice_step(until)
        for index in range(int(until / step + 1e-9) + 1):
            x = frame.x + frame.width * index * step / until
            self.label(x, frame.y + frame.height + 16, f"{index * step:g} s", anchor="middle", color=MUTED, size=10)
        for points, color in zip(series, colors, strict=True):
            self.line(
                [
                    (
                        frame.x + frame.width * time / until,
                        frame.y + frame.height * (1 - min(value, frame.top) / frame.top),
                    )
                    for time, value in points
                ],
                color,
            )


def nice_step(top: float) -> float:
    """Return a round number that divides an axis into four to ten parts."""
    raw = top / 5
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= raw * 0.999)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
