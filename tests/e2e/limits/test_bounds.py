"""A connector's memory stays in its bounds when far ends hardly read, and its other visitors are served meanwhile.

A short run of what `python -m bench.bounds` measures for longer: connector, edge and origin are processes of their own.
How quickly neighbours are served is for the bench to say (`--check`): here it would be a test of the machine.
"""

from __future__ import annotations

import sys

import pytest

from bench.bounds import CONNECTION_BOUND, MIB, STREAM_BOUND, measure

#: Its visitors open data streams themselves.
QUIC_ONLY = True

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")

CASES = [("upload", 1), ("download", 1), ("upload", 100), ("download", 100)]


async def test_slow_readers_cost_bounded_memory_and_starve_nobody(engine: str) -> None:
    found = await measure(engine, CASES, windows=1, settle=1.5, patience=60.0)
    assert [(each.case, each.streams) for each in found] == CASES
    assert (STREAM_BOUND, CONNECTION_BOUND) == (16 * MIB, 64 * MIB)
    for each in found:
        assert each.growth <= each.bound, each
        assert each.beside["broken"] == 0, each
        assert each.beside["starved"] == 0, each
