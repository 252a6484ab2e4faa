from __future__ import annotations

from bench.local_proxy import Plan, measure


async def test_the_local_proxy_is_measured_in_every_row() -> None:
    found = await measure(Plan(transfers=500_000, at_once=2, flows=10, held=20))
    assert set(found) == {
        "a held flow", "down, 1 flow", "down, 2 flows", "up, 1 flow", "up, 2 flows", "short flows, 32 at once",
    }  # fmt: skip
    assert all(figure > 0 for row, (figure, _) in found.items() if row != "a held flow")
