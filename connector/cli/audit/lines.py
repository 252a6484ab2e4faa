"""Lines of a log: the last ones without reading all of it, and those that come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyconnector.edge.audit.chain import MAX_LINE

#: Bytes that are read at once.
PIECE = 256 * 1024


def last_records(paths: list[Path], count: int) -> list[dict[str, Any]]:
    """Return the last records of consecutive files, the oldest first, reading no more than that needs.

    Raises:
        OSError: a file cannot be read.
    """
    found: list[dict[str, Any]] = []
    for path in reversed(paths):
        if len(found) >= count:
            break
        for line in _backwards(path):
            if len(found) >= count:
                break
            found += parsed([line])
    return found[:count][::-1]


def _backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position:
            size = min(PIECE, position)
            position -= size
            file.seek(position)
            first, *lines = (file.read(size) + rest).split(b"\n")
            yield from reversed(lines)
            # The beginning of a line that has no end is no line of a log.
            rest = first[: MAX_LINE + 1]
        yield rest


class Follower:
    """Looks for what is new in a log that grows, in files that are there and in those that come."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._seen = {path: path.stat().st_size for path in paths}

    def new(self, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
        """Yield the records since the last call, of whole lines.

        Raises:
            OSError: a file cannot be read.
        """
        for path in paths:
            while True:
                with path.open("rb") as file:
                    file.seek(self._seen.get(path, 0))
                    data = file.read(PIECE)
                whole = data[: data.rfind(b"\n") + 1]
                if not whole:
                    break
                self._seen[path] = self._seen.get(path, 0) + len(whole)
                yield from parsed(whole.splitlines())


def parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the records among some lines; what is none is passed over."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a line being written, or damage that `verify` tells of
        if isinstance(record, dict) and "Datetime" in record:
            yield record


def is_being_written(directory: Path) -> bool:
    """Return whether an edge of this machine writes there now."""
    try:
        import fcntl

        lock = os.open(directory / ".lock", os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
