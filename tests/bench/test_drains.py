"""A short form of `python -m bench.drains`."""

from __future__ import annotations

import pytest

from bench.drains import measure

DRAINS = 4


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("engine", ["aioquic", "qh3"])
async def test_connectors_that_end_under_load_cost_no_request(engine: str) -> None:
    if engine == "qh3":
        pytest.importorskip("qh3")
    figures = await measure(DRAINS, visitors=8, engine=engine)
    assert (figures.drains, figures.failed, figures.log_errors) == (DRAINS, 0, 0)
    assert figures.requests > 8
    assert figures.slow_requests >= 4
