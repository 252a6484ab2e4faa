"""Opens files below a directory so that nothing leads out of it: name by name, never through a symbolic link, and only
regular files and directories. Blocking: called in a thread.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.origins.files.paths import is_hidden

if TYPE_CHECKING:
    from pyconnector.origins.files.paths import FilePath

#: Entries of one listing.
MAX_ENTRIES = 10_000
#: Whether this system can open a name relative to a directory that is open, which everything here rests on.
IS_POSSIBLE = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = _FLAGS | getattr(os, "O_DIRECTORY", 0)
#: A pipe that somebody puts in place of a file must not make its opening wait.
_FILE = _FLAGS | getattr(os, "O_NONBLOCK", 0)


class NotThere(Exception):
    """Nothing that could be served has that path, or this process may not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name in a listing."""

    name: bytes
    is_directory: bool
    size: int
    modified: float
    "Seconds since the epoch."


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a directory."""

    entries: list[Entry]
    whole: bool
    "Whether that is all; else there were more than `MAX_ENTRIES`."


def open_root(path: str) -> int:
    """Return a descriptor of the directory that everything is below; `path` itself may be a symbolic link.

    Raises:
        OSError: there is no such directory.
    """
    return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0))


def open_path(held: int, path: FilePath) -> tuple[int, os.stat_result]:
    """Return an open file or directory, and what it is. `held` is a descriptor of the root, closed here.

    Raises:
        NotThere: it is neither, or cannot be read.
    """
    try:
        for name in path.names[:-1]:
            held = _step(held, name, _DIRECTORY)
        if path.names:
            # Looked at before it is opened: opening a device may do something.
            if not _is_served(os.stat(path.names[-1], dir_fd=held, follow_symlinks=False).st_mode):
                raise NotThere
            held = _step(held, path.names[-1], _FILE)
        found = os.fstat(held)
        if not _is_served(found.st_mode):  # it was replaced between the two
            raise NotThere
    except OSError as error:
        os.close(held)
        raise NotThere from error
    except BaseException:
        os.close(held)
        raise
    return held, found


def list_directory(directory: int) -> Listing:
    """Return what is in an open directory, hidden and special files left out.

    Raises:
        NotThere: it cannot be read.
    """
    entries: list[Entry] = []
    try:
        with os.scandir(directory) as found:
            for entry in found:
                name = os.fsencode(entry.name)
                if is_hidden(name):
                    continue
                if len(entries) == MAX_ENTRIES:
                    return Listing(_sorted(entries), whole=False)
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it was removed meanwhile
                if _is_served(status.st_mode):
                    is_directory = stat.S_ISDIR(status.st_mode)
                    entries.append(
                        Entry(
                            name=name, is_directory=is_directory, size=0 if is_directory else status.st_size,
                            modified=status.st_mtime,
                        )
                    )  # fmt: skip
    except OSError as error:
        raise NotThere from error
    return Listing(_sorted(entries), whole=True)


def _step(held: int, name: bytes, flags: int) -> int:
    following = os.open(name, flags, dir_fd=held)
    os.close(held)
    return following


def _is_served(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (not entry.is_directory, entry.name))
