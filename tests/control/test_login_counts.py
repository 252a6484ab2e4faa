"""What edges count together while people log in: exact whoever asks at once, on either database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.control.store.access import login_counts
from pyconnector.edge.directory.client import ControlClient

if TYPE_CHECKING:
    from tests.control.support import Mesh

GUESS, OTHER = "guess:" + "ab" * 32, "guess:" + "cd" * 32


async def test_of_many_at_once_exactly_so_many_are_allowed(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    token = mesh.plane.edge_token_file.read_text().strip()
    edges = [ControlClient(mesh.plane.url, token) for _ in range(3)]
    try:
        taken = await asyncio.gather(*(edges[number % 3].login_count(GUESS, 5, 600) for number in range(12)))
        assert sorted(taken, key=str) == [False] * 7 + [True] * 5
        assert await edges[0].login_count(OTHER, 5, 600) is True  # others are not counted with it
        now = mesh.plane.database.now()
        monkeypatch.setattr(mesh.plane.database, "now", lambda: now.fromtimestamp(now.timestamp() + 601, now.tzinfo))
        assert await edges[1].login_count(GUESS, 1, 600) is True
        monkeypatch.setattr(login_counts, "MAX_COUNTS", 2)
        assert await edges[1].login_count("guess:" + "ef" * 32, 5, 600) is False  # rather than without bound
        later = now.timestamp() + login_counts.KEPT_SECONDS + 700
        monkeypatch.setattr(mesh.plane.database, "now", lambda: now.fromtimestamp(later, now.tzinfo))
        assert await edges[1].login_count("guess:" + "ef" * 32, 5, 600) is True  # the old ones are forgotten
        edges.append(ControlClient(mesh.plane.url, "x" * 40))
        assert await edges[-1].login_count(GUESS, 5, 600) is None
    finally:
        for edge in edges:
            await edge.close()


@pytest.mark.parametrize("body", [{"key": "guess"}, {"key": GUESS, "limit": 0}, {"key": GUESS, "seconds": 9999}])
async def test_counts_that_make_no_sense_are_refused(mesh: Mesh, body: dict[str, object]) -> None:
    token = mesh.plane.edge_token_file.read_text().strip()
    whole = {"key": GUESS, "limit": 5, "seconds": 600} | body
    headers = {"Authorization": f"Bearer {token}"}
    answer = await mesh.client.post(f"{mesh.plane.url}/edge/v1/login_count", json=whole, headers=headers)
    assert answer.status_code == 400
