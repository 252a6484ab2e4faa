"""The line at the bottom of a terminal, and that nothing else ever sees one."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from pyconnector.connector.cli.process.progress import ProgressLine
from pyconnector.connector.cli.service import CONNECTING
from tests.connector.cli.test_cli import ROOT, _no_environment, edge_for_tests, flags, running
from tests.connector.configs import write_config

__all__ = ["_no_environment"]

ERASE = "\r\x1b[K"


def test_lines_of_the_log_stand_above_it() -> None:
    screen = io.StringIO()
    progress = ProgressLine(screen)
    progress.show("working")
    progress.show("working")
    progress.write("a line\n")
    progress.show("")
    progress.write("another\n")
    assert screen.getvalue() == f"working{ERASE}a line\nworking{ERASE}another\n"


def test_it_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    screen = io.StringIO()
    ProgressLine(screen).show("x" * 100)
    assert screen.getvalue() == "x" * 9


def test_a_terminal_that_is_gone_is_nobodys_loss() -> None:
    screen = io.StringIO()
    screen.close()
    ProgressLine(screen).show("working")


def _read(descriptor: int) -> str:
    """Everything that was written to a terminal until its process ended."""
    found = b""
    try:
        while data := os.read(descriptor, 65536):
            found += data
    except OSError:
        pass  # how Linux says that nobody has it open any more
    return found.decode()


async def test_a_terminal_shows_it_until_something_is_registered(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with edge_for_tests() as edge:
            ours, theirs = pty.openpty()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pyconnector", "run", str(write_config(tmp_path)), *map(str, flags(edge)),
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=theirs, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            reading = asyncio.create_task(asyncio.to_thread(_read, ours))
            async with asyncio.timeout(30):
                while not any(each.state == "registered" for each in edge.connectors.all()):
                    await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            said = await reading
            os.close(ours)
            return said

    said = await scenario()
    assert CONNECTING in said
    after = said[said.rindex(CONNECTING) :]
    assert ERASE in after, "it was taken away"
    assert "\x1b[32mINF\x1b[0m" in said


async def test_nothing_but_a_terminal_gets_it(tmp_path: Path) -> None:
    async with edge_for_tests() as edge, running("run", write_config(tmp_path), *flags(edge)) as process:
        await process.until("Registered tunnel connection")
        assert await process.end(signal.SIGTERM) == 0
        assert not any("\x1b" in line or CONNECTING in line for line in process.lines)
