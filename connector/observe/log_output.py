"""Where log lines go: a stream, or a file that may be moved, may be full, and may be limited in size.

Logging must not take the process down with it. Where an output fails, the other outputs are told so once, and once more
when it works again; the lines between are lost and counted. Every line is written whole and at once: nothing waits in a
buffer that cannot be emptied when the process ends.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import IO

#: Permissions of folders that are made for logs: they are for the owner and the group to read.
FOLDER_MODE = 0o750


class LineHandler(logging.Handler):
    """Writes each record as a line to an output that may fail. Subclasses know how."""

    def __init__(self, name: str) -> None:
        """`name` is what sentences call the output."""
        super().__init__()
        self._output = name
        self._lost = 0
        "Lines in succession that could not be written."

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. An output that fails costs the line, and raises nothing."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - a defect of the caller's: said by `logging`, as for any handler
            self.handleError(record)
            return
        try:
            self.write(line)
        except (OSError, ValueError) as error:  # a closed stream is a ValueError
            self._lost += 1
            if self._lost == 1:
                self._say(logging.ERROR, f"Cannot write to {self._output}: {_reason(error)}; lines are lost")
        else:
            lost, self._lost = self._lost, 0
            if lost:
                lines = "1 line is" if lost == 1 else f"{lost} lines are"
                self._say(logging.WARNING, f"Writing to {self._output} works again; {lines} missing")

    def write(self, line: str) -> None:
        """Write a line that ends in LF.

        Raises:
            OSError, ValueError: it could not be written.
        """
        raise NotImplementedError

    def _say(self, level: int, sentence: str) -> None:
        logging.getLogger("pyconnector.log").log(level, "%s", sentence)


class StreamLines(LineHandler):
    """Lines on standard error or standard output, or on any text stream."""

    def __init__(self, stream: IO[str], name: str) -> None:
        super().__init__(name)
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, AttributeError, io.UnsupportedOperation):
            self._descriptor = None

    def write(self, line: str) -> None:
        """See `LineHandler.write`."""
        if self._descriptor is None:
            self._stream.write(line)
            self._stream.flush()
            return
        # Around the stream's buffer, which would keep what did not fit and fail again when the process ends.
        _write_all(self._descriptor, line.encode(self._encoding, "backslashreplace"))


class FileLines(LineHandler):
    """Lines at the end of a file, which is opened anew when it was moved or removed.

    With `rotate_bytes` a file that would grow beyond is renamed to `.1`, `.1` to `.2` and so on; `kept` of them stay.
    """

    def __init__(self, path: Path, name: str, *, mode: int = 0o666, rotate_bytes: int = 0, kept: int = 0) -> None:
        """Open `path`, with `mode` (which the umask limits) where it is new.

        Raises:
            OSError: it cannot be opened.
        """
        super().__init__(name)
        self._path = path
        self._mode = mode
        self._rotate_bytes = rotate_bytes
        self._kept = kept
        self._torn = False
        "Whether the file ends in a part of a line."
        self._descriptor = self._open()

    def write(self, line: str) -> None:
        """See `LineHandler.write`."""
        data = line.encode("utf-8", "backslashreplace")
        self._follow()
        if self._rotate_bytes and os.fstat(self._descriptor).st_size + len(data) > self._rotate_bytes:
            self._rotate()
        try:
            _write_all(self._descriptor, b"\n" + data if self._torn else data)
        except _Partly:
            self._torn = True
            raise
        self._torn = False

    def close(self) -> None:
        """Close the file. Never fails. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError:
                pass  # what a disk says only now is about lines that are written
        super().close()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), self._mode)

    def _follow(self) -> None:
        """Open the file anew where its name leads elsewhere by now."""
        ours = os.fstat(self._descriptor)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
            self._reopen()

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor, self._torn = fresh, False

    def _rotate(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._kept + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
        self._reopen()


def make_folder(path: Path) -> None:
    """Make a folder for logs, and those around it.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


class _Partly(OSError):
    """A part of the line was written."""


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError as error:
        if written:
            raise _Partly(error.errno, error.strerror) from error
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (os.strerror(error.errno) if error.errno else str(error)).lower()
    return str(error).lower()
