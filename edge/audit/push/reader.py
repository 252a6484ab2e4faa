"""Reads the lines of a log from a cursor on, as many as make a batch. Blocking: called from a thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyconnector.edge.audit.chain import MAX_LINE
from pyconnector.edge.audit.push.cursor import Cursor
from pyconnector.edge.audit.retention import numbered

#: How the first line of a file begins, which is no record.
_HEAD = b'{"AuditFile":'


@dataclass(frozen=True, slots=True)
class Read:
    """Some lines without their ends, and the place behind them."""

    lines: list[bytes]
    cursor: Cursor
    more: bool
    "Whether it ended because a batch holds no more."


def read_lines(directory: Path, cursor: Cursor, end: Cursor, records: int, size: int) -> Read:
    """Return at most so many records, and lines of `size` bytes or one, between `cursor` and `end`.

    Files that are gone are passed over.

    Raises:
        OSError: a file cannot be read.
    """
    lines: list[bytes] = []
    taken = 0
    paths = {number: path for number, path in numbered(directory) if cursor.number <= number <= end.number}
    for number in sorted(paths):
        if number > cursor.number:
            cursor = Cursor(number, 0)
        limit = end.offset if number == end.number else None
        try:
            with paths[number].open("rb") as file:
                file.seek(cursor.offset)
                while limit is None or cursor.offset < limit:
                    line = file.readline(MAX_LINE)
                    if not line:
                        break
                    if not line.startswith(_HEAD):
                        if len(lines) >= records or (lines and taken + len(line) > size):
                            return Read(lines, cursor, more=True)
                        taken += len(line)
                        lines.append(line[:-1])
                    cursor = Cursor(number, cursor.offset + len(line))
        except FileNotFoundError:
            continue
    return Read(lines, cursor, more=False)
