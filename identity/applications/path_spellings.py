"""Other spellings of a path that services take for the same one.

A rule judges the path that a visitor sent, decoded once. What stands behind it may merge slashes, resolve dots, drop
`;parameters`, decode again, or cut and trim names, in any order (RFC 3986 6.2.2 allows some of it, the rest is habit).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

#: Characters of a path whose spellings are looked for; of a longer one every spelling counts as possible.
MAX_SPELT_PATH = 8192
#: Spellings of one path; of a path with more of them every spelling counts as possible.
MAX_SPELLINGS = 32
_SLASHES = re.compile(r"/{2,}")
_PARAMETERS = re.compile(r";[^/]*")
#: Where a name ends for what is written in C, and a path for what decodes before it splits.
_CUT = re.compile(r"[\0?#].*", re.DOTALL)
#: What Windows drops at the end of a name, and what line-wise patterns do not see.
_TRAILING = re.compile(r"(?<=[^/.\x00-\x20])[.\x00-\x20]+(?=/|$)")
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")


def decode_path(raw_path: str) -> str:
    """Undo the percent escapes of a path; bytes that are no UTF-8 become surrogate escapes.

    An escape that is none stays as it is.
    """
    if "%" not in raw_path:
        return raw_path
    return unquote_to_bytes(raw_path.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def spellings(path: str) -> frozenset[str] | None:
    """Return every path that a service may take the decoded `path` for, with itself; None where they are too many."""
    if len(path) > MAX_SPELT_PATH:
        return None
    found = {path}
    waiting = [path]
    while waiting:
        known = waiting.pop()
        for change in _CHANGES:
            other = change(known)
            if other not in found:
                if len(found) == MAX_SPELLINGS:
                    return None
                found.add(other)
                waiting.append(other)
    return frozenset(found)


def _resolve_dots(path: str) -> str:
    """Remove dot segments (RFC 3986 5.2.4)."""
    if _DOTS.search(path) is None:
        return path
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            if len(kept) > 1:
                kept.pop()
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", "..") and kept[-1:] != [""]:
        kept.append("")
    return "/".join(kept) if len(kept) > 1 else "/"


_CHANGES: tuple[Callable[[str], str], ...] = (
    decode_path,
    lambda path: path.replace("\\", "/"),
    lambda path: _PARAMETERS.sub("", path),
    lambda path: _SLASHES.sub("/", path),
    _resolve_dots,
    lambda path: _CUT.sub("", path),
    lambda path: _TRAILING.sub("", path),
)


def toggled_slash(path: str) -> str:
    """Return the path with a slash at its end, or without the one that it has."""
    return path[:-1] if path.endswith("/") and len(path) > 1 else path + "/"
