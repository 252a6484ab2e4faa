"""From the target of a request to names below a directory. Pure.

A path has one spelling: whatever another reader might take for another path (dots, empty names, escaped slashes,
backslashes, control characters) leads nowhere. Names that begin with a dot are not served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

#: Bytes of a decoded path, and names in it.
MAX_PATH = 4096
MAX_DEPTH = 64
_ODD = re.compile(rb"[\x00-\x1f\x7f\\]")
_ESCAPED_SLASH = re.compile(r"%2f|%5c", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class FilePath:
    """Names below the directory, in the bytes of the file system."""

    names: tuple[bytes, ...]
    is_directory: bool
    "Whether it was written with a slash at its end."

    @property
    def url(self) -> str:
        """The path as a URL has it."""
        text = "/" + "/".join(quote(name) for name in self.names)
        return text + "/" if self.is_directory and self.names else text


def read_path(target: str) -> FilePath | None:
    """Return what a target names; None where that is nothing which could be served."""
    raw = target.partition("?")[0]
    if not raw.startswith("/") or _ESCAPED_SLASH.search(raw) or _BAD_ESCAPE.search(raw):
        return None
    path = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    if len(path) > MAX_PATH or _ODD.search(path):
        return None
    names = path[1:].split(b"/")
    is_directory = names[-1] == b""
    if is_directory:
        names.pop()
    if len(names) > MAX_DEPTH or any(is_hidden(name) for name in names):
        return None
    return FilePath(tuple(names), is_directory)


def is_hidden(name: bytes) -> bool:
    """Return whether a name is empty or begins with a dot, `.` and `..` included."""
    return not name or name.startswith(b".")
