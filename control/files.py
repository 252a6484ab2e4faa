"""Files of the data directory: for their owner alone, whole or not there."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from pyconnector.control.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def make_directory(directory: Path) -> None:
    """Make the data directory.

    Raises:
        SettingsError: it cannot be made, or others may write into it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode
    except OSError as error:
        raise SettingsError(f"the data directory {directory} cannot be made: {error.strerror or error}") from None
    if os.name == "posix" and mode & 0o022:
        raise SettingsError(
            f"the data directory {directory} can be written by others than its owner: mode 0700 is right"
        )


def write_secret(path: Path, text: str) -> None:
    """Put `text` into a file of mode 0600, in place of what was there.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from None
