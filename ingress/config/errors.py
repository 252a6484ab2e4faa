"""What is wrong with a config, with its place in it, all at once.

IngressError            the rules cannot be used      (caught by the CLI, by `Connector` and by the remote update)
└── NoIngressRules      there are no rules at all     (caught where single-origin flags are the fallback)

A problem's `path` holds keys and list indexes from the top of the config; the connector maps it to a line and a column.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: Keys and list indexes from the top of the config to one value in it.
ConfigPath: TypeAlias = tuple[str | int, ...]

#: Problems that one config can collect; what comes after them is dropped.
MAX_PROBLEMS = 1000
#: Characters of a value that a message quotes.
MAX_QUOTED = 60
#: Longest key for which a similar one is looked up (the search is quadratic).
MAX_KEY_TO_COMPARE = 64


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """One thing that is wrong, or (with `warning`) merely useless or surprising."""

    path: ConfigPath
    message: str
    suggestion: str = ""
    "What was probably meant: a key or a value to write in place of what is there."
    warning: bool = False
    at_key: bool = False
    "The last key of the path is what is wrong, whatever its value."

    @property
    def place(self) -> str:
        """The path as people write it: `ingress[0].originRequest.access`."""
        return place_of(self.path)

    @property
    def sentence(self) -> str:
        """The message with its suggestion."""
        return f"{self.message}; did you mean {self.suggestion}?" if self.suggestion else self.message

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}" if self.path else self.sentence


class IngressError(Exception):
    """The config cannot be used. `problems` holds everything found, warnings among them, in the order of the config."""

    def __init__(self, problems: Sequence[RuleProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems if not problem.warning))
        self.problems = tuple(problems)


class NoIngressRules(IngressError):
    """The config has no `ingress` rules, and nothing else is wrong with it."""


class ProblemList:
    """Collects problems while a config is read. Holds at most MAX_PROBLEMS."""

    def __init__(self) -> None:
        self.problems: list[RuleProblem] = []
        self.errors = 0

    def add(
        self, path: ConfigPath, message: str, suggestion: str = "", *, warning: bool = False, at_key: bool = False
    ) -> None:
        """Record a problem, or a warning; with `at_key` it is the key and not its value that is wrong."""
        if not warning:
            self.errors += 1
        if len(self.problems) < MAX_PROBLEMS or (not warning and self.errors == 1):
            self.problems.append(RuleProblem(path, message, suggestion, warning, at_key))

    def warn(self, path: ConfigPath, message: str, suggestion: str = "") -> None:
        """Record a warning."""
        self.add(path, message, suggestion, warning=True)

    def raise_if_any(self) -> None:
        """Raise IngressError where a problem (not only warnings) was recorded."""
        if self.errors:
            raise IngressError(self.problems)


def place_of(path: ConfigPath) -> str:
    """Write a path as `ingress[0].originRequest.access`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{quoted(part)[1:-1]}" if text else quoted(part)[1:-1]
    return text


def quoted(text: str) -> str:
    """Quote `text` for a message: one line, printable, at most MAX_QUOTED characters of it."""
    shown = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return '"' + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown) + '"'


def describe(value: object) -> str:
    """Say what a config value is: `the number 30`, `the text "abc"`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "the truth value true" if value else "the truth value false"
        case int():
            return f"the number {value}" if value.bit_length() < 128 else "a huge number"
        case float():
            return f"the number {value}"
        case str():
            return f"the text {quoted(value)}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case datetime.date():
            return "a date"
        case bytes():
            return "binary data"
    return f"a value of type {type(value).__name__[:MAX_QUOTED]}"


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` is most probably a slip of, or "".

    Case, hyphens and underscores do not count, so a flag's spelling finds the key (`no-tls-verify`).
    """
    if len(word) > MAX_KEY_TO_COMPARE:
        return ""
    names = {plain(name): name for name in known}
    if plain(word) in names:
        return names[plain(word)]
    import difflib  # only for those who made a slip

    found = difflib.get_close_matches(plain(word), names, n=1, cutoff=0.72)
    return names[found[0]] if found else ""


def plain(word: str) -> str:
    """Return `word` without what people vary in keys: case, hyphens and underscores."""
    return word.lower().replace("-", "").replace("_", "")
