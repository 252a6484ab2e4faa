"""A short form of `python -m bench.reloads`."""

from __future__ import annotations

import pytest

from bench.reloads import Figures, measure

RELOADS = 25


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("engine", ["aioquic", "qh3"])
async def test_reloads_under_load_cost_no_request_and_no_stream(engine: str) -> None:
    if engine == "qh3":
        pytest.importorskip("qh3")
    figures: Figures = await measure(RELOADS, visitors=4, engine=engine)
    assert (figures.reloads, figures.failed) == (RELOADS, 0)
    assert figures.websocket_messages == figures.tcp_messages == RELOADS
    assert figures.requests >= RELOADS
