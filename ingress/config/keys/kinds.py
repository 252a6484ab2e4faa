"""Kinds of config values: how each is read, shown in the docs, described to editors and sent to the edge.

A kind reads from the local YAML config, or (`Reader.remote`) from the edge's JSON, which is stricter about types,
counts durations in whole seconds, matches keys without case and ignores what it does not know (wire.md 10).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pyconnector.ingress.config.durations import format_duration, json_seconds, parse_duration
from pyconnector.ingress.config.errors import ConfigPath, ProblemList, closest, describe

T = TypeVar("T")

#: Characters of one text value. Longer ones are problems.
MAX_TEXT = 16 * 1024
#: Entries of one list in a config other than the list of rules.
MAX_LIST = 1024
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF"})
_MAX_SECONDS = (1 << 63) // 1_000_000_000


@dataclass(slots=True)
class Reader:
    """How one config is being read, and what was found wrong so far."""

    remote: bool = False
    allow_unknown_keys: bool = False
    problems: ProblemList = field(default_factory=ProblemList)


class Kind(ABC, Generic[T]):
    """A kind of value. `shown` names it in the docs, `example` completes "expected ..."."""

    shown: str
    example: str

    def read(self, value: object, path: ConfigPath, reader: Reader) -> T | None:
        """Return the value, or None where a problem was recorded."""
        return self._read(value, path, reader)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a value."""
        return self._schema()

    def dump(self, value: T) -> Any:
        """Return the value as the edge is sent it."""
        return self._dump(value)

    def show(self, value: T) -> str:
        """Return the value as a config would hold it, for the docs."""
        return self._show(value)

    def wrong(self, value: object, *, hint: str = "", quote: bool = True) -> ValueError:
        """Return the error for a value of another kind; without `quote` a text, which may be a secret, is not shown."""
        found = describe(value) if quote or not isinstance(value, str) else "a text"
        return ValueError(f"expected {self.example}, found {found}{hint}")

    @abstractmethod
    def _read(self, value: object, path: ConfigPath, reader: Reader) -> T | None: ...

    @abstractmethod
    def _schema(self) -> dict[str, Any]: ...

    def _dump(self, value: T) -> Any:
        return value

    def _show(self, value: T) -> str:
        return "" if value in ("", (), None) else str(value)


# Kinds are not frozen and know no ==: they are made once, and generating that for each of them costs every start 2 ms.


class Scalar(Kind[T]):
    """A kind whose values have one problem at most: `_parse` raises ValueError with a sentence."""

    def _read(self, value: object, path: ConfigPath, reader: Reader) -> T | None:
        try:
            return self._parse(value, remote=reader.remote)
        except ValueError as error:
            reader.problems.add(path, str(error))
            return None

    @abstractmethod
    def _parse(self, value: object, *, remote: bool) -> T: ...


@dataclass(eq=False)
class Text(Scalar[str]):
    """One line of text. A bare number in YAML is taken as its digits, as the reference does."""

    example: str = "a text"
    shown: str = "text"
    check: Callable[[str], object] | None = None
    "Raises ValueError for a text that has no meaning here."
    pattern: str = ""
    "The same for editors, as a regular expression."
    multiline: bool = False
    limit: int = MAX_TEXT

    def _parse(self, value: object, *, remote: bool) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and not remote and value.bit_length() < 128:
            value = str(value)
        if not isinstance(value, str):
            hint = "; put it in quotes" if isinstance(value, bool | float) and not remote else ""
            raise self.wrong(value, hint=hint)
        if len(value) > self.limit:
            raise ValueError(f"the text is longer than {self.limit} characters")
        allowed = "\t\r\n" if self.multiline else ""
        if any(_is_control(char) and char not in allowed for char in value):
            raise ValueError("the text holds a control character, such as a line break")
        if self.check is not None:
            self.check(value)
        return value

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern} if self.pattern else {"type": "string"}


def _is_control(char: str) -> bool:
    return char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff"


@dataclass(eq=False)
class Choice(Text):
    """One of some words."""

    words: tuple[str, ...] = ()

    def _parse(self, value: object, *, remote: bool) -> str:
        text = super()._parse(value, remote=remote)
        if text not in self.words:
            meant = closest(text, [word for word in self.words if word])
            raise ValueError(
                f"expected {self.example}, found {describe(text)}" + (f"; did you mean {meant}?" if meant else "")
            )
        return text

    def _schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(eq=False)
class Flag(Scalar[bool]):
    """A truth value; in YAML also the words of YAML 1.1 (`yes`, `off`)."""

    example: str = "true or false"
    shown: str = "true or false"

    def _parse(self, value: object, *, remote: bool) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and not remote:
            if value in _TRUE or value in _FALSE:
                return value in _TRUE
            if value.lower() in ("true", "false"):
                raise self.wrong(value, hint="; remove the quotes")
        raise self.wrong(value)

    def _schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def _show(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(eq=False)
class Whole(Scalar[int]):
    """A whole number between two bounds."""

    minimum: int = -(1 << 63)
    maximum: int = (1 << 63) - 1
    example: str = "a whole number"
    shown: str = "number"

    def _parse(self, value: object, *, remote: bool) -> int:
        if isinstance(value, float) and not remote and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            hint = "; remove the quotes" if isinstance(value, str) and value.isdecimal() and not remote else ""
            raise self.wrong(value, hint=hint)
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"expected {self.example}, found {describe(value)}")
        return value

    def _schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer"} | {name: bound for name, bound in bounds.items() if abs(bound) < 1 << 62}


@dataclass(eq=False)
class Duration(Scalar[float]):
    """Seconds: a text like `30s` in YAML, a whole number of seconds in the edge's JSON."""

    negative: bool = False
    example: str = "a duration like 30s"
    shown: str = "duration"

    def _parse(self, value: object, *, remote: bool) -> float:
        seconds = self._parse_json(value) if remote else self._parse_text(value)
        if seconds < 0 and not self.negative:
            raise ValueError(f"the duration {format_duration(seconds)} is negative, so it would always be over")
        return seconds

    def _parse_text(self, value: object) -> float:
        if not isinstance(value, str):
            raise self.wrong(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            hint = f": {error}" if any(char.isdigit() for char in value) else ""
            raise self.wrong(value, hint=hint) from error

    def _parse_json(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_SECONDS:
            raise ValueError(f"expected a whole number of seconds, found {describe(value)}")
        return float(value)

    def _schema(self) -> dict[str, Any]:
        sign = "[+-]?" if self.negative else r"\+?"
        return {"type": "string", "pattern": rf"^{sign}(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"}

    def _dump(self, value: float) -> Any:
        return json_seconds(value)

    def _show(self, value: float) -> str:
        return format_duration(value)


@dataclass(eq=False)
class ListOf(Kind[tuple[T, ...]], Generic[T]):
    """A list of values of one kind. All its problems are found, not only the first."""

    item: Kind[T]
    example: str = "a list"
    shown: str = "list"
    may_be_empty: bool = True
    "Only in the local config; what the edge sends may always be empty."
    limit: int = MAX_LIST

    def _read(self, value: object, path: ConfigPath, reader: Reader) -> tuple[T, ...] | None:
        if not isinstance(value, list | tuple):
            reader.problems.add(path, str(self.wrong(value, hint=self._hint(value))))
            return None
        if not value and not self.may_be_empty and not reader.remote:
            reader.problems.add(path, f"the list is empty; expected {self.example}")
            return None
        if len(value) > self.limit:
            reader.problems.add(path, f"the list has {len(value)} entries; at most {self.limit} are allowed")
            return None
        before = reader.problems.errors
        items = [self.item.read(entry, (*path, index), reader) for index, entry in enumerate(value)]
        whole = tuple(entry for entry in items if entry is not None)
        return None if reader.problems.errors != before else whole

    def _hint(self, value: object) -> str:
        return "; put a dash before each entry" if isinstance(value, str) else ""

    def _schema(self) -> dict[str, Any]:
        bounds = {} if self.may_be_empty else {"minItems": 1}
        return {"type": "array", "items": self.item.schema(), **bounds}

    def _dump(self, value: tuple[T, ...]) -> Any:
        return [self.item.dump(entry) for entry in value]
