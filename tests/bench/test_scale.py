"""Curves of scale: drawn from their points, and measured with numbers that cost little."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.scale import curves
from bench.scale.__main__ import table
from bench.scale.curves import Curve, Effort
from bench.scale.picture import picture


def test_every_curve_is_drawn_with_its_numbers() -> None:
    found = [Curve("memory", "kB", [(1, 5.0), (10_000, 6.0)]), Curve("CPU", "µs", [(100, 0.0)])]

    words = "".join(ElementTree.fromstring(picture(found)).itertext())

    assert "memory" in words
    assert "10,000" in words
    assert "| memory, kB | 1: 5, 10,000: 6 | 1.20 |" in table(found)


async def test_visitors_who_stay_are_asked_in_turn() -> None:
    memory, requests = await curves.visitors((3, 20), Effort("aioquic", rounds=1, seconds=0.1))

    assert [number for number, _ in requests.points] == [3, 20]
    assert all(value > 0 for _, value in requests.points)
    assert all(value >= 0 for _, value in memory.points)
