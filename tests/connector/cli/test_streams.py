"""Whole processes whose standard streams are closed or full, as supervisors, cron and full disks leave them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyconnector.connector.cli.streams import open_standard_streams
from tests.connector.cli.test_cli import ROOT, ask, edge_for_tests, flags
from tests.connector.configs import RULES, token, write_config

COMMAND = f"exec {shlex.quote(sys.executable)} -m pyconnector"
FULL = "/dev/full"


def shell(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    return subprocess.run(
        ["/bin/sh", "-c", f"{COMMAND} {arguments}"],
        cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_streams_that_are_none_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_standard_streams()
    assert (sys.stdin.readable(), sys.stdout.writable(), sys.stderr.writable()) == (True, True, True)
    assert [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)] == [0, 1, 2]


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_connector_runs_without_its_standard_streams(tmp_path: Path, closed: str, loop: str) -> None:
    pidfile, log = tmp_path / "pid", tmp_path / "log"
    path = write_config(tmp_path, RULES)
    if loop == "asyncio":  # a module of that name that cannot be imported
        (tmp_path / "uvloop.py").write_text("raise ImportError\n")
    async with edge_for_tests() as edge:
        more = ("run", path, *flags(edge), "--pidfile", pidfile, "--logfile", log, "--ha-connections", 1)
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f"{COMMAND} {shlex.join(map(str, more))} {closed}", cwd=ROOT,
            env=dict(os.environ) | {"PYTHONPATH": str(tmp_path)},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(20):
                while not pidfile.exists():
                    assert process.returncode is None, log.read_text() if log.exists() else "it never began"
                    await asyncio.sleep(0.01)
            assert await ask(edge) == 404
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.skipif(not Path(FULL).exists(), reason="there is no full device")
async def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    path = write_config(tmp_path, RULES, credentials=False)
    async with edge_for_tests() as edge:
        arguments = ("run", path, *flags(edge), "--logfile", FULL, "--access-log", FULL, "--ha-connections", 1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pyconnector", *map(str, arguments), cwd=ROOT,
            env=dict(os.environ) | {"TUNNEL_TOKEN": token()}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        lines: list[str] = []
        async with asyncio.timeout(20):
            while "Registered" not in "".join(lines):
                lines.append((await process.stderr.readline()).decode())
        for _ in range(3):
            assert await ask(edge) == 404
        process.send_signal(signal.SIGTERM)
        _, rest = await process.communicate()
        assert process.returncode == 0
        text = "".join(lines) + rest.decode()
        assert text.count(f"Cannot write to the log file {FULL}: no space left on device") == 1
        assert text.count(f"Cannot write to the access log {FULL}: no space left on device") == 1
        assert "Traceback" not in text


@pytest.mark.skipif(not Path(FULL).exists(), reason="there is no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["ingress rule CONFIG https://x.example/", "ingress schema", "version", "--help"])
def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: str, unbuffered: str) -> None:
    path = write_config(tmp_path, RULES, credentials=False)
    found = shell(f"{arguments.replace('CONFIG', shlex.quote(str(path)))} >{FULL}", PYTHONUNBUFFERED=unbuffered)
    assert (found.returncode, found.stderr) == (1, "error: cannot write the output: no space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["ingress", "schema"], ["version"]])
def test_output_whose_reader_has_gone_is_no_error(arguments: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command, environment = (
        [sys.executable, "-m", "pyconnector", *arguments],
        os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    with os.fdopen(writing, "wb") as gone:
        found = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=gone, stderr=subprocess.PIPE, timeout=30, check=False
        )
    assert (found.returncode, found.stderr) == (1, b"")


def test_a_url_is_read_as_utf_8_in_any_locale(tmp_path: Path) -> None:
    path = shlex.quote(str(write_config(tmp_path, RULES, credentials=False)))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = shell(f"ingress rule {path} https://exämple.org/ä", **plain)
    assert (found.returncode, found.stderr) == (0, "")
    assert "Matched rule #0" in found.stdout


@pytest.mark.parametrize("by_flag", [True, False])
def test_values_of_flags_are_read_as_utf_8_in_any_locale(tmp_path: Path, by_flag: bool) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": str(tmp_path)}
    named = "--url ftp://exämple.org/" if by_flag else ""
    more = {} if by_flag else {"TUNNEL_URL": "ftp://exämple.org/"}
    found = shell(f"run --local {named}", **plain, **more)
    assert found.returncode == 2
    assert "surrogates" not in found.stderr
    assert "ftp" in found.stderr
