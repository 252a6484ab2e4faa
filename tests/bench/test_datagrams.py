from __future__ import annotations

import pytest

from bench.datagrams import Load, measure
from bench.house.subject import Subject


@pytest.mark.parametrize("version", [2, 3])
async def test_datagrams_are_echoed_and_their_cost_is_told(version: int) -> None:
    load = Load(flows=2, window=2, size=100, seconds=0.3)
    rate, cpu, lost = await measure(Subject("ours", engine="aioquic"), version, load)
    assert rate > 0
    assert cpu > 0
    assert lost < 1
