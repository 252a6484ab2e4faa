"""One problem of a config, with its place: `file:line:column: path: message; did you mean x?`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from pyconnector.ingress.config.errors import place_of

#: Where a value sits in the config mapping: keys and list indices from the top.
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem, or with `warning` only something the user should know."""

    message: str
    file: str = ""
    line: int = 0
    "1-based; 0 where the problem has no place in the file."
    column: int = 0
    path: Path = ()
    suggestion: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = ": ".join(part for part in (place, place_of(self.path), self.message) if part)
        return f"{text}; did you mean {self.suggestion}?" if self.suggestion else text


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems as the file has them; those without a place come first."""
    return sorted(problems, key=lambda problem: (problem.line, problem.column))
