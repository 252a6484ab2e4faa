"""The path rules of one hostname as one expression, where there are many: a request asks once, not rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconnector.ingress.rules.path_patterns import PATTERN_MEMORY, to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.ingress.rules.path_patterns import PathPattern

#: Path rules of a hostname from which on they are asked together.
ASKED_TOGETHER = 8
#: Bytes of memory that one set may use, its caches included; less than its rules by themselves where these are few.
SET_MEMORY = 32 * 1024 * 1024


class PathSet:
    """Expressions in order. It answers as they would one by one, or says that they must be asked."""

    __slots__ = ("_all", "_set")

    def __init__(self, patterns: Sequence[PathPattern]) -> None:
        """Make a set of `patterns`; one that does not fit into its memory asks for each every time."""
        import re2

        options = re2.Options()
        options.max_mem = min(SET_MEMORY, PATTERN_MEMORY * len(patterns))
        options.log_errors = False
        self._all = len(patterns)
        self._set: Any = re2.Set.SearchSet(options)
        try:
            for pattern in patterns:
                self._set.Add(pattern.text.encode())
            # RE2 says alike that nothing matches and that a search ran out of memory. This one always matches.
            self._set.Add(b"")
            self._set.Compile()
        except re2.error:
            self._set = None

    def __repr__(self) -> str:
        return f"<PathSet {self._all}>"

    def first(self, path: str) -> int | None:
        """Return the place of the first that is found in the decoded `path`, the number of all where none is.

        None: they must be asked one by one.
        """
        found = self._set.Match(to_bytes(path)) if self._set is not None else None
        return min(found) if found else None
