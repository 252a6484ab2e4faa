"""The pages below /diag, and the archive that `tunnel diag` makes of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import zipfile
from pathlib import Path

import pytest

from pyconnector.connector.cli.diagnose import diag as diag_module
from pyconnector.connector.observe.server import diagnostics
from tests.connector.cli.test_cli import _no_environment, edge_for_tests, flags, invoke, running
from tests.connector.configs import SECRET_TEXT, TUNNEL_ID, token, write_config

__all__ = ["_no_environment"]


async def test_an_archive_has_everything_but_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "connector.log"

    async with edge_for_tests() as edge:
        line = ("run", write_config(tmp_path), *flags(edge), "--logfile", log, "--token", token())
        async with running(*line, "--ha-connections", 2) as process:
            address = (await process.until("Starting metrics server")).split()[-1].removesuffix("/metrics")
            await process.until("connIndex=1")
            await process.until("Registered tunnel connection connIndex=1")
            found = await asyncio.to_thread(invoke, "tunnel", "diag", "--metrics", address, "--no-diag-network")
            assert found.exit_code == 0, found.output
            assert "Diagnostics are in pyconnector-diag-" in found.output
            assert await process.end(signal.SIGTERM) == 0
    (path,) = tmp_path.glob("pyconnector-diag-*.zip")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(files) == {
        "tunnelstate.json", "systeminformation.json", "cli-configuration.json", "configuration.json", "tasks.txt",
        "metrics.txt", "cloudflared_logs.txt", "task-result.json",
    }  # fmt: skip
    assert {result["result"] for result in json.loads(files["task-result.json"]).values()} == {"success"}
    state = json.loads(files["tunnelstate.json"])
    assert state["tunnelID"] == str(TUNNEL_ID)
    assert state["connections"] == [
        {"isConnected": True, "protocol": 1, "edgeAddress": "127.0.0.1"},
        {"isConnected": True, "protocol": 1, "edgeAddress": "127.0.0.1", "index": 1},
    ]
    configuration = json.loads(files["cli-configuration.json"])
    assert configuration["logfile"] == str(log)
    assert configuration["uid"] == str(os.getuid())
    assert "token" not in configuration
    assert json.loads(files["systeminformation.json"])["info"]["memoryMaximum"] > 0
    assert "task supervisor" in files["tasks.txt"]
    assert "Registered tunnel connection" in files["cloudflared_logs.txt"]
    everything = "".join(files.values())
    assert token() not in everything
    assert SECRET_TEXT not in everything


def test_nobody_and_several_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diag_module, "_state", lambda host, port: {})
    found = invoke("tunnel", "diag")
    assert (found.exit_code, "no running connector was found" in found.stderr) == (1, True)
    monkeypatch.setattr(diag_module, "_state", lambda host, port: {"tunnelID": f"t{port % 2}"} if port % 2 else {})
    found = invoke("diag")
    assert (found.exit_code, found.stderr.count("127.0.0.1:")) == (0, 3)
    assert list(tmp_path.iterdir()) == []


def test_jobs_that_fail_are_results_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(diag_module, "_answers", lambda host, port: True)
    found = invoke("diag", "--metrics", "127.0.0.1:1", "--diag-container-id", "x", "--no-diag-network")
    assert "left out cloudflared_logs.txt: docker is not installed" in found.stderr
    (path,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["task-result.json"]


def test_a_machine_that_tells_nothing_is_described_all_the_same(tmp_path: Path) -> None:
    found = diagnostics.system(proc=tmp_path)
    assert found["info"]["osSystem"]
    assert set(found["errors"]) == {"memory", "fileDescriptor", "disk"}


async def test_no_more_tasks_are_listed_than_a_page_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "MAX_TASKS", 3)

    async def scenario() -> str:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(asyncio.sleep(100), name=f"sleeper {number}") for number in range(9)]
            await asyncio.sleep(0)
            said = diagnostics.tasks()
            for task in waiting:
                task.cancel()
        return said

    said = await scenario()
    assert said.count("task ") == 3
    assert said.endswith("7 more tasks\n")


def test_where_no_connector_answers_that_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = invoke("tunnel", "diag", "--metrics", address)
    assert (found.exit_code, found.stderr) == (
        1, f"error: no connector answers at {address}; --metrics names where it serves its metrics\n"
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_an_archive_is_named_after_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diag_module, "_get", lambda host, port, page: b"{}")
    given = {"no_diag_logs": True, "no_diag_network": True}
    assert diag_module.diag(given, "127.0.0.1:1", "cloudflared") == 0
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("cloudflared-diag-")
