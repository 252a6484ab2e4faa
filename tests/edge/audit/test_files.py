"""The files of an audit log: chained lines, rotation, restarts, damage, a full disk."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge.audit import log as audit_log
from pyconnector.edge.audit.chain import BEGINNING, ChainBroken, chained, read_link
from pyconnector.edge.audit.files import AuditError, AuditFiles, log_files, read_log
from pyconnector.edge.audit.log import AuditLog, AuditSettings
from pyconnector.edge.audit.retention import Retention

ROWS = [{"Datetime": "2027-01-15T08:00:00.000Z", "n": number} for number in range(50)]


def written(directory: Path, rows: list[dict[str, Any]], **options: Any) -> str:
    files = AuditFiles(directory, **options)
    for row in rows:
        files.write([row])
    files.close()
    return files.chain


def numbers(directory: Path) -> list[int]:
    return [link.record["n"] for _, link in read_log(log_files(directory)) if "n" in link.record]


def test_each_line_follows_from_the_one_before() -> None:
    line, chain = chained({"a": 1}, BEGINNING)
    assert read_link(line, BEGINNING).record == {"a": 1}
    assert read_link(line, None).chain == chain
    for damaged, before in ((line.replace(b"1", b"2"), BEGINNING), (line, chain), (b"{}", None), (b"", None)):
        with pytest.raises(ChainBroken):
            read_link(damaged, before)


def test_files_rotate_and_the_chain_goes_on(tmp_path: Path) -> None:
    chain = written(tmp_path, ROWS, file_size=1000)
    assert len(log_files(tmp_path)) > 3
    assert numbers(tmp_path) == list(range(50))
    *_, (_, last) = read_log(log_files(tmp_path))
    assert last.chain == chain
    assert all(path.stat().st_mode & 0o077 == 0 for path in log_files(tmp_path))


def test_old_files_go_and_the_rest_can_still_be_checked(tmp_path: Path) -> None:
    written(tmp_path, ROWS, file_size=1000, retention=Retention(2))
    assert len(log_files(tmp_path)) == 2
    assert numbers(tmp_path)[-1] == 49


def test_a_restart_continues_the_chain_behind_a_torn_line(tmp_path: Path) -> None:
    written(tmp_path, ROWS[:3])
    (path,) = log_files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"n":99,"Ch')
    written(tmp_path, ROWS[3:6])
    assert numbers(tmp_path) == list(range(6))


@pytest.mark.parametrize("left", [b"", b'{"AuditF'])
def test_a_file_that_holds_nothing_is_begun_again(tmp_path: Path, left: bytes) -> None:
    written(tmp_path, ROWS[:3])
    (tmp_path / "audit-000002.jsonl").write_bytes(left)
    written(tmp_path, ROWS[3:5])
    assert numbers(tmp_path) == list(range(5))


def test_one_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, ROWS[:20], file_size=1000)
    for path in log_files(tmp_path):
        data = path.read_bytes()
        for position in range(0, len(data), 37):
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with pytest.raises(AuditError, match=path.name):
                list(read_log(log_files(tmp_path)))
        path.write_bytes(data)
    assert numbers(tmp_path) == list(range(20))


def test_a_missing_line_or_file_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, ROWS, file_size=1000)
    first, second, *_ = log_files(tmp_path)
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(AuditError, match=rf"{first.name}:3: .*missing"):
        list(read_log(log_files(tmp_path)))
    first.write_bytes(b"".join(lines))
    second.unlink()
    with pytest.raises(AuditError, match="does not follow"):
        list(read_log(log_files(tmp_path)))


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path)
    with pytest.raises(AuditError, match="another process"):
        AuditFiles(tmp_path)
    files.close()
    AuditFiles(tmp_path).close()


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be used"):
        AuditFiles(tmp_path / "file")
    written(tmp_path / "x", ROWS[:1])
    (path,) = log_files(tmp_path / "x")
    path.write_bytes(b"something else\n")
    with pytest.raises(AuditError, match="cannot be followed"):
        AuditFiles(tmp_path / "x")


class FullDisk(AuditFiles):
    """Writes until it is told that the disk is full; half of a line may be there then."""

    full = False

    def write(self, records: Any) -> None:
        if not self.full:
            super().write(records)
            return
        real, count = os.write, 0

        def partly(file: int, data: Any) -> int:
            nonlocal count
            count += 1
            if count > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(file, bytes(data)[:10])

        os.write = partly
        try:
            super().write(records)
        finally:
            os.write = real


async def with_log(tmp_path: Path, test: Any, **options: Any) -> None:
    files: list[FullDisk] = []

    def opened(settings: AuditSettings, _: Retention) -> AuditFiles:
        files.append(FullDisk(settings.directory))
        return files[0]

    log = AuditLog(AuditSettings(directory=tmp_path, **options), opened)
    await log.start()
    async with asyncio.timeout(20):
        await test(log, files[0])
        await log.close()


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_what_waits_is_written_when_the_log_closes(tmp_path: Path) -> None:
    async def test(log: AuditLog, _: FullDisk) -> None:
        for row in ROWS:
            log.put(row)

    await with_log(tmp_path, test)
    assert numbers(tmp_path) == list(range(50))


@pytest.mark.parametrize("refuse", [True, False])
async def test_a_full_disk_is_said_loudly_and_loses_nothing_that_fits(
    tmp_path: Path, refuse: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "AGAIN", 0.01)

    async def test(log: AuditLog, files: FullDisk) -> None:
        log.put(ROWS[0])
        await until(lambda: "waiting=0" in repr(log))
        files.full = True
        log.put(ROWS[1])
        await until(lambda: "ERROR" in caplog.text)
        assert log.refuses is refuse
        for row in ROWS[2:]:
            log.put(row)
        files.full = False
        await until(lambda: "waiting=0" in repr(log))
        assert not log.refuses

    caplog.set_level(logging.WARNING)
    await with_log(tmp_path, test, refuse_when_full=refuse)
    assert numbers(tmp_path) == list(range(50))
    said = [record.levelname for record in caplog.records if "go-on" not in record.getMessage()]
    assert said == ["ERROR", "WARNING"]
    assert ("nobody is served" in caplog.text) is refuse
    # At the start, where records may be lost.
    assert ("Requests are served even while" in caplog.text) is not refuse


async def test_what_waits_is_bounded_and_what_is_lost_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_WAITING", 10)
    hold = threading.Event()

    async def test(log: AuditLog, files: FullDisk) -> None:
        write = files.write
        files.write = lambda records: (hold.wait(10), write(records))[1]  # type: ignore[method-assign]
        for row in ROWS:
            log.put(row)
        assert log.lost == 40
        hold.set()
        await until(lambda: "waiting=0" in repr(log))
        assert log.lost == 0

    await with_log(tmp_path, test)
    records = [link.record for _, link in read_log(log_files(tmp_path))]
    assert [record["AuditRecordsLost"] for record in records if "AuditRecordsLost" in record] == [40]
    assert numbers(tmp_path) == list(range(10))


def test_a_disk_that_is_full_as_a_file_begins_leaves_a_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = AuditFiles(tmp_path, file_size=100)
    files.write(ROWS[:3])
    real = os.write

    def full(file: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            files.write(ROWS[3:5])
    monkeypatch.setattr(os, "write", real)
    files.write(ROWS[3:5])
    files.close()
    assert numbers(tmp_path) == list(range(5))
