"""Which files of an audit log may go: the oldest beyond those to keep, unless a pusher still needs them. Blocking.

What pushers need is bounded: beyond the limit either the oldest go, counted, or the log is full.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyconnector.edge.audit.push.cursor import Cursor

NAME = re.compile(r"audit-(\d{6})\.jsonl")
#: Bytes of files beyond those to keep that wait for a receiver: some six million records, an hour at 1,600 a second.
SPOOL_LIMIT = 4 * 1024**3
_PIECE = 1024 * 1024


class Retention:
    """Asked by the thread that writes, told by the pushers on the event loop: values are replaced, never changed."""

    def __init__(self, keep: int, limit: int = SPOOL_LIMIT, *, drop: bool = True) -> None:
        """`keep` files are kept where it is not 0. With `drop` the oldest go beyond `limit`; else the log is full."""
        self._keep = keep
        self._limit = limit
        self._drop = drop
        self.cursors: dict[str, Cursor] = {}
        "Where each pusher is."
        self.lost: dict[str, int] = {}
        "Records that each pusher can no longer read, not yet told of."
        self.full = False
        "Whether pushers need more than the limit, and nothing may be dropped."

    def prune(self, directory: Path) -> None:
        """Delete what may go.

        Raises:
            OSError: the directory cannot be used.
        """
        if not self._keep:
            return
        surplus = numbered(directory)[: -self._keep]
        cursors = dict(self.cursors)
        needed = min((cursor.number for cursor in cursors.values()), default=None)
        waiting = [(number, path) for number, path in surplus if needed is not None and number >= needed]
        for _, path in surplus[: len(surplus) - len(waiting)]:
            path.unlink(missing_ok=True)
        size = sum(path.stat().st_size for _, path in waiting)
        while size > self._limit and self._drop:
            number, path = waiting.pop(0)
            size -= path.stat().st_size
            self._count_lost(number, path, cursors)
            path.unlink(missing_ok=True)
        self.full = size > self._limit

    def take_lost(self, name: str) -> int:
        """Return how many records a pusher lost since the last call."""
        return self.lost.pop(name, 0)

    def _count_lost(self, number: int, path: Path, cursors: dict[str, Cursor]) -> None:
        for name, cursor in cursors.items():
            if cursor.number <= number:
                # The first line of a file is no record.
                offset, head = (cursor.offset, 0) if cursor.number == number and cursor.offset else (0, 1)
                self.lost[name] = self.lost.get(name, 0) + max(0, sum(_line_ends(path, offset)) - head)


def numbered(directory: Path) -> list[tuple[int, Path]]:
    """Return the files of a log with their numbers, the oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted((int(found[1]), path) for path in directory.iterdir() if (found := NAME.fullmatch(path.name)))


def _line_ends(path: Path, offset: int) -> Iterator[int]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_PIECE):
            yield piece.count(b"\n")
