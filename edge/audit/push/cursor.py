"""How far each pusher is in the files of the log, kept beside them so that a restart goes on there. Blocking."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = ".push"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the log: the number of a file, and the bytes of it that are behind."""

    number: int
    offset: int


def load(directory: Path, name: str) -> Cursor | None:
    """Return where a pusher was; None for a new one, or where that cannot be read."""
    try:
        value = json.loads((directory / FOLDER / f"{name}.json").read_bytes())
        number, offset = value["file"], value["offset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(number) is not int or type(offset) is not int or number < 0 or offset < 0:
        return None
    return Cursor(number, offset)


def save(directory: Path, name: str, cursor: Cursor) -> None:
    """Keep where a pusher is.

    Raises:
        OSError: it cannot be written; what was kept before is still there.
    """
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path, new = folder / f"{name}.json", folder / f"{name}.new"
    new.write_text(json.dumps({"file": cursor.number, "offset": cursor.offset}), encoding="ascii")
    os.replace(new, path)


def forget(directory: Path, name: str) -> None:
    """Forget a pusher that is no more. Idempotent."""
    (directory / FOLDER / f"{name}.json").unlink(missing_ok=True)


def kept(directory: Path) -> list[str]:
    """Return the names of the pushers whose place is kept."""
    return [path.stem for path in (directory / FOLDER).glob("*.json")]
