"""The last snapshot in a file, so that an edge can start while the control plane is away. For its owner alone."""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from pyconnector.edge.directory.values import DirectoryError, parse_snapshot

if TYPE_CHECKING:
    from pathlib import Path

#: The form of the file.
FORMAT = 1
#: Bytes of a snapshot that is read: some 500,000 routes.
MAX_BYTES = 256 * 1024 * 1024


def save(path: Path, number: int, objects: dict[str, dict[str, Any]], moment: datetime.datetime) -> None:
    """Write a snapshot in place of the one before, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A new file of mkstemp is of mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "saved_at": moment.isoformat(), "number": number, "objects": objects}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: Path) -> tuple[int, dict[str, dict[str, Any]], datetime.datetime] | None:
    """Return number, objects and age of the snapshot in a file; None without one.

    Raises:
        DirectoryError: it is damaged, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError
        body = json.loads(data)
        moment = datetime.datetime.fromisoformat(body["saved_at"])
        if body["format"] != FORMAT or moment.tzinfo is None:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DirectoryError(f"{path} holds no snapshot") from None
    number, objects = parse_snapshot(body)
    return number, objects, moment
