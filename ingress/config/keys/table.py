"""Tables of config keys: the one source of parsing, of the JSON schema and of the docs table.

A `Table` reads a mapping key by key, records every problem, and names what an unknown key was probably meant to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pyconnector.ingress.config.errors import ConfigPath, ProblemList, closest, describe, quoted
from pyconnector.ingress.config.keys.guards import (
    SECURITY_HOLDERS,
    SECURITY_KEYS,
    guard_meant,
    hidden_guards,
    is_guard,
    misplaced,
)
from pyconnector.ingress.config.keys.kinds import Kind, Reader

T = TypeVar("T")


@dataclass(slots=True, kw_only=True, eq=False)
class Key:
    """One config key."""

    name: str
    kind: Kind[Any]
    meaning: str
    "One sentence for the docs and for editors."
    field: str = ""
    "The attribute of the settings that holds it."
    reference: bool = True
    "False for what only this connector knows: opt-in, local, never sent to the edge."
    applies_to: Literal["any", "http", "stream"] = "any"
    "Services with which an opt-in key does something."
    only_in_rules: bool = False
    no_effect: str = ""
    "Why the key does nothing, for those that are kept for old configs."
    null_means: Literal["unset", "problem"] = "unset"
    also_tried: tuple[str, ...] = ()
    "Other names under which people look for it."
    flag: str = ""
    "The command line flag that sets it where there are no rules."


@dataclass(eq=False)
class Table:
    """The keys that one mapping may hold."""

    keys: tuple[Key, ...]
    secure: bool = False
    "Unknown keys in here are problems whatever the user allows."
    retired: Mapping[str, str] = field(default_factory=dict)
    "Keys that older releases of the reference knew, with what became of them."
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    "Keys that belong somewhere else, with where."

    def __post_init__(self) -> None:
        self._by_name = {key.name: key for key in self.keys}
        self._by_fold = {key.name.lower(): key for key in self.keys if key.reference}

    _by_name: dict[str, Key] = field(init=False, repr=False, compare=False, default_factory=dict)
    _by_fold: dict[str, Key] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __getitem__(self, name: str) -> Key:
        return self._by_name[name]

    def read(self, mapping: Mapping[Any, object], path: ConfigPath, reader: Reader) -> dict[str, Any]:
        """Return the values of the keys that are set and valid, by key name; record the rest as problems."""
        values: dict[str, Any] = {}
        for name, value in mapping.items():
            key = self._find(name, value, path, reader)
            if key is None:
                continue
            place = (*path, str(name))
            if value is None:
                if key.null_means == "problem" and not reader.remote:
                    reader.problems.add(place, f"{key.name} is empty; expected {key.kind.example}", at_key=True)
                continue
            if key.no_effect and not reader.remote:
                reader.problems.warn(place, f"{key.name} has no effect: {key.no_effect}")
            result = key.kind.read(value, place, reader)
            if result is not None:
                values[key.name] = result
        return values

    def _find(self, name: object, value: object, path: ConfigPath, reader: Reader) -> Key | None:
        if reader.remote:
            return self._find_remote(name, path, reader)
        key = self._by_name.get(name) if isinstance(name, str) else None
        if key is None:
            self._unknown(name, value, path, reader)
        return key

    def _find_remote(self, name: object, path: ConfigPath, reader: Reader) -> Key | None:
        if not isinstance(name, str):
            return None
        if (key := self._by_fold.get(name.lower())) is None and name in self._by_name:
            reader.problems.warn((*path, name), f"{name} is read from the local config only and is ignored here")
        return key

    def _unknown(self, name: object, value: object, path: ConfigPath, reader: Reader) -> None:
        if not isinstance(name, str):
            reader.problems.add(path, f"expected keys that are texts, found {describe(name)} as a key")
            return
        place = (*path, name)
        if name in self.retired:
            add_hidden_guards(value, place, reader.problems)
            reader.problems.warn(place, f"{quoted(name)[1:-1]} is no longer known: {self.retired[name]}")
            return
        meant = "" if name in self.elsewhere else self.suggest(name)
        guards = self.secure or is_guard(name) or name in SECURITY_HOLDERS or meant in SECURITY_KEYS | SECURITY_HOLDERS
        if name in self.elsewhere:
            message = f"{name} does not belong here; {self.elsewhere[name]}"
        elif not meant and guard_meant(name):
            guards, message = True, misplaced(name)
        else:
            message = f"unknown key {quoted(name)}"
        warning = reader.allow_unknown_keys and not guards
        reader.problems.add(place, message, meant, warning=warning, at_key=True)
        if warning:
            add_hidden_guards(value, place, reader.problems)

    def suggest(self, name: str) -> str:
        """Return the key that `name` was probably meant to be, or ""."""
        words = {word: key.name for key in self.keys for word in (key.name, key.flag, *key.also_tried) if word}
        return words.get(closest(name, words), "")

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the mapping."""
        properties = {key.name: key.kind.schema() | {"description": key.meaning} for key in self.keys}
        properties |= {name: {"deprecated": True, "description": text} for name, text in self.retired.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}


def add_hidden_guards(value: object, path: ConfigPath, problems: ProblemList) -> None:
    """Record an error for each guarding key below `path`, whose key is passed over."""
    for place in hidden_guards(value, path):
        name = str(place[-1])
        message = misplaced(name) if guard_meant(name) else "this is nested too deeply for a key that nothing knows"
        problems.add(place, message, at_key=True)


@dataclass(eq=False)
class Section(Kind[T], Generic[T]):
    """A mapping with keys of its own, made into a value by `build`.

    `build` gets the values, the place and the reader, and may record further problems and return None.
    """

    table: Table
    build: Callable[[dict[str, Any], ConfigPath, Reader], T | None]
    example: str = "a mapping"
    shown: str = "mapping"
    required: tuple[str, ...] = ()
    "Only for editors; `build` is what refuses."
    dumper: Callable[[T], Any] | None = None

    def _read(self, value: object, path: ConfigPath, reader: Reader) -> T | None:
        if not isinstance(value, Mapping):
            reader.problems.add(path, str(self.wrong(value, quote=False)))
            return None
        before = reader.problems.errors
        values = self.table.read(value, path, reader)
        if reader.problems.errors != before:
            return None
        built = self.build(values, path, reader)
        return None if reader.problems.errors != before else built

    def _schema(self) -> dict[str, Any]:
        return self.table.schema() | ({"required": list(self.required)} if self.required else {})

    def _dump(self, value: T) -> Any:
        return self.dumper(value) if self.dumper is not None else value
