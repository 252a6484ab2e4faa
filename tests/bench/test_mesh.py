"""The bench of a mesh fills a control plane, and what it times is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.mesh import __main__ as mesh_bench
from bench.mesh import decide
from bench.mesh.fill import fill
from tests.control.support import open_mesh


async def test_what_a_mesh_is_filled_with_is_decided_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "DECISIONS", 200)
    async with open_mesh(tmp_path) as mesh:
        installation = mesh.plane.installation
        told = {"account_id": installation.account_id, "zone_id": installation.zone_id, "zone_name": "example.com"}
        await fill(mesh.plane.database, told, tunnels=3, routes=20, hostnames=10)
        assert len(await mesh.call("GET", f"{mesh.account}/cfd_tunnel")) == 3
        rows = await decide.decisions(
            mesh.plane.url, mesh.plane.edge_token_file.read_text().strip(), "example.com", routes=20, hostnames=10
        )
        assert [name.partition(":")[0] for name, _ in rows] == [
            "snapshot", "snapshot", "which tunnel serves a hostname", "which tunnel serves an address",
        ]  # fmt: skip


def test_the_bench_of_a_mesh_takes_its_sizes_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench.mesh", "--tunnels", "3", "--routes", "20"])
    arguments = mesh_bench.parsed()
    assert (arguments.tunnels, arguments.routes, arguments.hostnames) == (3, 20, 10_000)
