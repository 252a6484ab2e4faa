"""The files of an audit log: a directory of `audit-000001.jsonl`, `audit-000002.jsonl`, ..., one chain through all.

Blocking: called from a thread. What is on disk after a failure is whole lines, and the next line follows from the last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyconnector.edge.audit.chain import BEGINNING, MAX_LINE, ChainBroken, Link, chained, read_link
from pyconnector.edge.audit.push.cursor import Cursor
from pyconnector.edge.audit.retention import Retention, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a file after which the next is begun.
DEFAULT_FILE_SIZE = 100 * 1024 * 1024


class AuditError(Exception):
    """An audit log cannot be used. The text is one sentence."""


class CutOff(AuditError):
    """A line has no end: the process that wrote it died, or writes it now."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"{place}: the line is cut off")
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line by its file and number, for people."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def log_files(directory: Path) -> list[Path]:
    """Return the files of a log, the oldest first.

    Raises:
        AuditError: the directory cannot be read.
    """
    try:
        return [path for _, path in numbered(directory)]
    except OSError as error:
        raise AuditError(f"{directory} cannot be read: {error.strerror or error}") from error


class AuditFiles:
    """The files of one log, being written by one process."""

    def __init__(
        self, directory: Path, *, file_size: int = DEFAULT_FILE_SIZE, retention: Retention | None = None
    ) -> None:
        """All files are kept unless `retention` lets some go.

        Raises:
            AuditError: the directory or the last file cannot be used, or another process writes there.
        """
        self._directory = directory
        self._file_size = file_size
        self._retention = retention
        self._number = 0
        self._chain = BEGINNING
        self._file: int | None = None
        self._size = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._locked()
            files = log_files(directory)
            if files:
                self._resume(files[-1])
        except OSError as error:
            raise AuditError(f"the audit log in {directory} cannot be used: {error.strerror or error}") from error

    @property
    def chain(self) -> str:
        """The digest of the last line."""
        return self._chain

    @property
    def end(self) -> Cursor:
        """Behind what is surely there: what a write that failed left is taken back."""
        return Cursor(self._number, self._size)

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records: all of them, or none.

        Raises:
            OSError: they cannot be written; nothing of them is there.
        """
        if self._file is None or self._size >= self._file_size:
            self._begin_next()
        if not self._size:
            # Not together with opening it: on a full disk a file may be there that holds nothing yet.
            line, chain = chained({"AuditFile": self._number, "Previous": self._chain}, self._chain)
            self._append(line + b"\n")
            self._chain = chain
        chain, lines = self._chain, []
        for record in records:
            line, chain = chained(record, chain)
            lines.append(line)
        data = b"\n".join(lines) + b"\n"
        self._append(data)
        self._chain = chain

    def close(self) -> None:
        """Write what the system holds back to the disk, and close. Idempotent."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            # Of a disk that is full the beginning may be there.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _begin_next(self) -> None:
        path = self._directory / f"audit-{self._number + 1:06d}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        before, self._file, self._size = self._file, file, os.fstat(file).st_size
        self._number += 1
        if before is not None:
            try:
                os.fsync(before)
            finally:
                os.close(before)
        if self._retention is not None:
            self._retention.prune(self._directory)

    def _resume(self, path: Path) -> None:
        self._number = int(path.stem[-6:])
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            tail = b""
            while b"\n" not in tail.removesuffix(b"\n") and len(tail) < min(size, 2 * MAX_LINE):
                position = max(0, size - len(tail) - 4096)
                file.seek(position)
                tail = file.read(size - position)
            whole = tail.rfind(b"\n") + 1
            # What stands behind the last line's end was being written when the process died.
            file.truncate(size - len(tail) + whole)
            self._size = size - len(tail) + whole
        lines = tail[:whole].splitlines()
        if not lines:
            if self._size:
                raise AuditError(f"the end of {path} is no line of an audit log")
            self._number -= 1  # nothing is in it: it is begun again
            earlier = [other for other in log_files(self._directory) if other != path]
            path.unlink()
            if earlier:
                self._resume(earlier[-1])
            return
        try:
            self._chain = read_link(lines[-1], None).chain
        except ChainBroken as error:
            raise AuditError(f"the last line of {path} cannot be followed: {error}") from error
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _locked(self) -> int | None:
        try:
            import fcntl
        except ImportError:
            return None  # Windows has no such locks
        lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise AuditError(f"another process writes to the audit log in {self._directory}") from None
        return lock


def read_log(paths: Sequence[Path]) -> Iterator[tuple[Place, Link]]:
    """Yield every line of consecutive files, each checked against the one before.

    Raises:
        AuditError: a line was changed, is missing or is none; the text begins with its place.
    """
    before: str | None = None
    for path in paths:
        try:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    link = _checked(Place(path=path, line=number), line, before)
                    before = link.chain
                    yield Place(path=path, line=number), link
        except OSError as error:
            raise AuditError(f"{path} cannot be read: {error.strerror or error}") from error


def _checked(place: Place, line: bytes, before: str | None) -> Link:
    if not line.endswith(b"\n"):
        raise CutOff(place)
    try:
        if place.line > 1:
            return read_link(line[:-1], before)
        # The first line of a file says what it follows, so that a log without its oldest files can be checked.
        previous = read_link(line[:-1], None).record.get("Previous")
        if not isinstance(previous, str):
            raise ChainBroken("it is not the first line of a file")
        link = read_link(line[:-1], previous)
        if before is not None and previous != before:
            raise ChainBroken("the file does not follow the one before")
        return link
    except ChainBroken as error:
        raise AuditError(f"{place}: {error}") from error
