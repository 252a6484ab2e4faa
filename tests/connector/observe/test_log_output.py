"""Log outputs that fail, come back, move away and fill up."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyconnector.connector.config import LogConfig
from pyconnector.connector.observe.access_log_output import open_access_log
from pyconnector.connector.observe.log import ROOT, Log, LogSetup
from pyconnector.connector.observe.log_output import FileLines, StreamLines


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    yield
    logging.getLogger(ROOT).setLevel(logging.NOTSET)


class Disk:
    """Stands before `os.write`: takes so many bytes, then says that it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1_000_000
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = self._write(descriptor, data[: self.room])
        self.room -= taken
        return taken


def lines_of(stream: io.StringIO) -> list[str]:
    return [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]


def test_a_full_disk_is_told_once_and_once_more_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, console, path = Disk(monkeypatch), io.StringIO(), tmp_path / "log"
    setup = LogSetup(LogConfig(file=str(path)), console)
    Log("x").info("first")
    disk.room = 0
    for number in range(3):
        Log("x").info("lost %d", number)
    disk.room = 1_000_000
    Log("x").info("last")
    setup.close()
    told = lines_of(console)
    assert told == [
        "INF first",
        "INF lost 0",
        f"ERR Cannot write to the log file {path}: no space left on device; lines are lost",
        "INF lost 1",
        "INF lost 2",
        "INF last",
        f"WRN Writing to the log file {path} works again; 4 lines are missing",
    ]
    messages = [json.loads(line)["message"] for line in path.read_text().splitlines()]
    assert messages == ["first", "last", f"Writing to the log file {path} works again; 4 lines are missing"]


def test_a_line_that_was_torn_does_not_spoil_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, path = Disk(monkeypatch), tmp_path / "log"
    setup = LogSetup(LogConfig(file=str(path)), io.StringIO())
    disk.room = 10
    Log("x").info("torn")
    disk.room = 1_000_000
    Log("x").info("whole")
    setup.close()
    torn, whole, *later = path.read_text().splitlines()
    assert len(torn) == 10
    assert json.loads(whole)["message"] == "whole"
    assert [json.loads(line)["level"] for line in later] == ["warn"]  # that it works again


def test_a_full_disk_costs_the_access_log_its_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, console, path = Disk(monkeypatch), io.StringIO(), tmp_path / "access"
    setup, access = LogSetup(LogConfig(), console), open_access_log(LogConfig(access=str(path)))
    assert access is not None
    disk.room = 0
    for _ in range(3):
        access.handle(logging.LogRecord("x", logging.INFO, "", 0, "a=1", (), None))
    access.close()
    setup.close()
    assert lines_of(console) == [f"ERR Cannot write to the access log {path}: no space left on device; lines are lost"]


def test_a_stream_that_is_closed_raises_nothing(tmp_path: Path) -> None:
    console, path = io.StringIO(), tmp_path / "log"
    setup = LogSetup(LogConfig(file=str(path)), console)
    console.close()
    Log("x").info("still in the file")
    setup.close()
    messages = [json.loads(line)["message"] for line in path.read_text().splitlines()]
    assert any("Cannot write to standard error" in message for message in messages)
    assert "still in the file" in messages


def test_a_stream_in_a_narrow_encoding_gets_escapes(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        StreamLines(stream, "it").emit(logging.LogRecord("x", logging.INFO, "", 0, "é", (), None))
    assert (tmp_path / "out").read_text() == "\\xe9\n"


@pytest.mark.parametrize("removed", [False, True])
def test_a_file_that_was_moved_is_opened_anew(tmp_path: Path, removed: bool) -> None:
    path = tmp_path / "log"
    setup = LogSetup(LogConfig(file=str(path)), io.StringIO())
    Log("x").info("before")
    if removed:
        path.unlink()
    else:
        path.rename(tmp_path / "log.1")
    Log("x").info("after")
    setup.close()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["message"] == "after"


def test_a_file_stays_within_its_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = FileLines(path, "it", rotate_bytes=100, kept=2)
    for number in range(50):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "line %d", (number,), None))
    handler.close()
    handler.close()
    assert {file.name for file in tmp_path.iterdir()} == {"log", "log.1", "log.2"}
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    assert path.read_text().splitlines()[-1] == "line 49"
    assert (tmp_path / "log.1").read_text() < path.read_text()


def test_folders_for_logs_are_closed_to_others(tmp_path: Path) -> None:
    for config in (LogConfig(file=str(tmp_path / "a" / "b" / "log")), LogConfig(directory=str(tmp_path / "c" / "d"))):
        LogSetup(config, io.StringIO()).close()
    modes = {stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.rglob("*") if folder.is_dir()}
    assert modes == {0o750}
