"""Notices that the config file reads otherwise than before, whoever wrote it and however.

It looks at the file by its name once a second, which costs nothing and sees what notifications miss: a file that was
replaced, a link that leads elsewhere (as a mounted ConfigMap does), a folder from another machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TypeAlias

from pyconnector.connector.background import in_background

#: Seconds between two looks.
INTERVAL = 1.0
#: Largest file whose contents are compared; of a larger one time and size count.
MAX_COMPARED_BYTES = 16 * 1024 * 1024

_Look: TypeAlias = "tuple[int, int, int] | None"


class ConfigWatch:
    """Looks at one file."""

    def __init__(self, path: str, *, interval: float = INTERVAL) -> None:
        """Remember how the file at `path` reads now."""
        self._path = Path(path).expanduser()
        self._interval = interval
        self._look = self._stat()
        self._digest = self._read()

    def seen(self) -> None:
        """The file was just read for another reason: how it is now is how it was read."""
        self._look, self._digest = self._stat(), self._read()

    async def wait_change(self) -> None:
        """Wait until the file reads otherwise and is no longer being written. Cancel at any time."""
        while True:
            await asyncio.sleep(self._interval)
            if await in_background(self._changed):
                return

    def _changed(self) -> bool:
        """Whether the file differs from what was seen, and did not change between this look and the last."""
        look = self._stat()
        if look is None:
            return False  # being replaced
        if look != self._look:
            self._look = look
            self._pending = True
            return False
        if not self._pending:
            return False
        self._pending = False
        digest = self._read()
        if digest == self._digest or digest is None:
            return False
        self._digest = digest
        return True

    _pending = False

    def _stat(self) -> _Look:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes | None:
        try:
            if not self._path.is_file():  # a pipe would be emptied
                return None
            with self._path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size > MAX_COMPARED_BYTES:
                    return repr(self._look).encode()
                return hashlib.sha256(stream.read(MAX_COMPARED_BYTES)).digest()
        except OSError:
            return None
