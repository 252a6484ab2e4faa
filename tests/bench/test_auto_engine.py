"""The bench of a path that loses packets goes on working. Its figures mean nothing here."""

from __future__ import annotations

from bench.auto_engine import measure


async def test_each_download_is_a_line_with_its_rate_and_failures() -> None:
    lines = await measure("aioquic", size=10_000, loss=0.0, delay=0.002, seconds=0.2, pause=0.0)
    assert lines
    for line in lines:
        _, engine, began, rate, failures, _ = (each.strip() for each in line.split("|"))
        assert (engine, failures) == ("aioquic", "0")
        assert float(began) >= 0
        assert float(rate) > 0
