"""The curves as one SVG picture: numbers on a logarithmic axis, each figure from 0."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.congestion.svg import MUTED, Canvas, Frame, nice_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scale.curves import Curve

WIDTH, CHART_WIDTH, CHART_HEIGHT = 860, 340, 150
_LINE = "#2563eb"


def picture(curves: Sequence[Curve]) -> str:
    """Return the SVG document, two charts in a row."""
    rows = (len(curves) + 1) // 2
    canvas = Canvas(
        WIDTH, 40 + rows * (CHART_HEIGHT + 80), "How cost grows with the number of streams, rules, visitors"
    )
    for index, curve in enumerate(curves):
        top = max(value for _, value in curve.points) * 1.15 or 1.0
        step = nice_step(top)
        frame = Frame(
            x=60 + (index % 2) * (CHART_WIDTH + 70),
            y=50 + (index // 2) * (CHART_HEIGHT + 80),
            width=CHART_WIDTH,
            height=CHART_HEIGHT,
            top=math.ceil(top / step) * step,
            title=curve.title,
            unit=curve.unit,
        )
        canvas.axes(frame)
        _draw(canvas, frame, curve)
    return canvas.text()


def _anchor(x: float, frame: Frame) -> str:
    return "start" if x == frame.x else "middle"


def _draw(canvas: Canvas, frame: Frame, curve: Curve) -> None:
    first, last = math.log(curve.points[0][0]), math.log(curve.points[-1][0])
    places = []
    for number, value in curve.points:
        x = frame.x + frame.width * (math.log(number) - first) / ((last - first) or 1.0)
        y = frame.y + frame.height * (1 - value / frame.top)
        places.append((x, y))
        canvas.bar(x - 2, y + 2, 4, 4, _LINE)
        # Beside the figures of the axis, where it would stand on one.
        canvas.label(x + (4 if x == frame.x else 0), y - 8, f"{value:.3g}", anchor=_anchor(x, frame), size=10)
        canvas.label(x, frame.y + frame.height + 16, f"{number:,}", anchor="middle", color=MUTED, size=10)
    canvas.line(places, _LINE)
