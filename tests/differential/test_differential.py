"""The same bytes through a genuine cloudflared and through ours: what the origin receives, and what comes back.

The genuine one's results are recorded.json; where PYCONNECTOR_CLOUDFLARED names a binary it is asked again. Every
difference is one of `tests.differential.meant`, and has a row in docs/parity.md.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from pathlib import Path

import pytest

from tests.differential.case import Case, WireCase
from tests.differential.compare import Result, made_comparable, settled
from tests.differential.corpus import CASES, recorded
from tests.differential.meant import MEANT
from tests.differential.stage import run_all

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")
PARITY = Path(__file__).resolve().parents[2] / "docs" / "parity.md"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return asyncio.run(run_all(CASES, tmp_path_factory.mktemp("ours")))


@functools.cache
def genuine() -> dict[str, Result]:
    results = recorded()
    return {case.name: settled(case, made_comparable(case, results[case.name])) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours_does_as_the_genuine_one_but_for_what_is_meant(case: Case | WireCase, ours: dict[str, Result]) -> None:
    wanted = genuine()[case.name]
    if case.name in MEANT:
        wanted = MEANT[case.name].ours(case, wanted)
    assert settled(case, ours[case.name]) == wanted


def test_nothing_is_ever_smuggled(ours: dict[str, Result]) -> None:
    """However an edge frames a request: what it put behind never becomes a request of its own."""
    for case in CASES:
        for connection in ours[case.name]["origin"]:
            lines = [request["line"] for request in connection["requests"]]
            assert len(lines) <= 1, case.name
            assert not any("/smuggled" in line for line in lines), case.name
            assert "rest" not in connection or (isinstance(case, Case) and case.then), case.name


def test_every_meant_difference_is_one_and_has_its_row() -> None:
    rows = PARITY.read_text()
    for case in CASES:
        meant = MEANT.get(case.name)
        if meant is not None:
            assert meant.ours(case, genuine()[case.name]) != genuine()[case.name], case.name
            assert f"| {meant.row}" in rows, f"docs/parity.md has no row that begins {meant.row!r}"
    assert set(MEANT) <= {case.name for case in CASES}


@pytest.mark.reference
@pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary")
def test_the_record_is_what_the_genuine_one_does(tmp_path: Path) -> None:
    results = asyncio.run(run_all(CASES, tmp_path, binary=BINARY))
    differing = [
        f"{case.name}: {json.dumps(results[case.name])}"
        for case in CASES
        if settled(case, made_comparable(case, results[case.name])) != genuine()[case.name]
        and not case.name.endswith("r-not-gzip")  # it fails at unzipping, before or after the head went out
    ]
    assert differing == []
