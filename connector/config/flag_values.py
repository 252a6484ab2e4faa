"""The value of every flag: given on the command line, else by the environment, else by the config file.

Types are strict, as in the reference: a number for a text flag is a problem in a file (reference/ingress.md 1.2).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from pyconnector.connector.config.flags import (
    AUTO,
    FLAGS,
    GUARDING_FLAGS,
    OLD_KEYS,
    REQUEST_FLAGS,
    STRUCTURED_KEYS,
    Flag,
    Kind,
)
from pyconnector.connector.config.problems import Problem
from pyconnector.ingress.config.durations import parse_duration
from pyconnector.ingress.config.errors import ProblemList, closest, describe, plain
from pyconnector.ingress.config.keys.guards import SECURITY_HOLDERS, guard_meant, misplaced
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.keys.table import Table, add_hidden_guards
from pyconnector.ingress.config.warp_routing import WARP_ROUTING

if TYPE_CHECKING:
    from pyconnector.connector.config.yaml_source import Source

_BOOLS = {
    "true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False,
    "t": True, "f": False,
}  # fmt: skip

#: Tables whose keys people write at the top, with where they belong.
_INNER_KEYS = (
    (ORIGIN_REQUEST, "under originRequest"),
    (WARP_ROUTING, "under warp-routing"),
    (RULE, "in a rule of ingress"),
)


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that the environment gives to flags, by flag name. An empty variable counts as given."""
    found: dict[str, str] = {}
    for flag in FLAGS.values():
        for name in flag.env:
            if name in environ:
                found[flag.name] = environ[name]
                break
    return found


def collect(
    source: Source, overrides: Mapping[str, Any], problems: list[Problem], *, allow_unknown_keys: bool = False
) -> dict[str, Any]:
    """Return the flags that are set, by name: text, bool, int, seconds or a tuple of texts. Problems go to `problems`.

    `overrides` are what the command line and the environment give: texts, or values of the flag's own type.
    """
    values: dict[str, Any] = {}
    for name, given in overrides.items():
        flag = FLAGS.get(name)
        if flag is None:
            problems.append(Problem(message=f'"{name}" is no setting', suggestion=closest(str(name), FLAGS)))
            continue
        value = _override(flag, given, problems)
        if value is not None:
            values[name] = value
    for key, given in source.values.items():
        if key in STRUCTURED_KEYS:
            continue
        flag = FLAGS.get(key)
        if flag is None or not flag.in_file:
            problems += _unknown(source, key, allow_unknown_keys)
        elif key not in overrides and given is not None:
            value = _from_file(source, flag, given, problems)
            if value is not None:
                values[key] = value
    return values


def without_effect(values: Mapping[str, Any]) -> list[str]:
    """Return the names of set flags that do nothing here."""
    return sorted(name for name in values if not FLAGS[name].has_effect)


def _override(flag: Flag, given: Any, problems: list[Problem]) -> Any:
    if isinstance(given, PathLike) and flag.kind is Kind.TEXT:
        given = fspath(given)
    if not isinstance(given, str):
        return _own_type(flag, given, problems)
    if not given and flag.kind is not Kind.TEXTS:
        return None
    try:
        return _parse(flag.kind, given)
    except ValueError as error:
        shown = "" if flag.secret else f', not "{given}"'
        problems.append(Problem(message=f"--{flag.name} expects {flag.kind.value}{shown} ({error})"))
        return None


def _own_type(flag: Flag, given: Any, problems: list[Problem]) -> Any:
    """Return what a program gives where it may: a value of the flag's type, a duration in seconds."""
    if given is None:
        return None
    if flag.kind is Kind.TEXTS:
        if isinstance(given, list | tuple) and all(isinstance(item, str) for item in given):
            return tuple(given)
    elif flag.kind is Kind.DURATION:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return float(given)
    elif _fits(flag.kind, given):
        return given
    found = "a secret" if flag.secret else describe(given)
    problems.append(Problem(message=f"--{flag.name} expects {flag.kind.value}, not {found}"))
    return None


def _parse(kind: Kind, text: str) -> Any:
    if kind is Kind.TEXTS:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is Kind.BOOL:
        if text.lower() not in _BOOLS:
            raise ValueError("this is neither")
        return _BOOLS[text.lower()]
    if kind is Kind.INT:
        if not text.lstrip("+-").isascii() or not text.lstrip("+-").isdigit() or len(text) > 20:
            raise ValueError("these are not digits")
        return int(text)
    if kind is Kind.COUNT:
        return text if text == AUTO else _parse(Kind.INT, text)
    return parse_duration(text) if kind is Kind.DURATION else text


def _from_file(source: Source, flag: Flag, given: object, problems: list[Problem]) -> Any:
    kind, path = flag.kind, (flag.name,)
    if kind is Kind.TEXTS:
        if isinstance(given, list):
            texts = [item for item in given if isinstance(item, str)]
            if len(texts) == len(given):
                return tuple(texts)
            index = next(i for i, item in enumerate(given) if not isinstance(item, str))
            problems.append(source.problem((*path, index), f"expected text, found {describe(given[index])}"))
            return None
    elif kind is Kind.DURATION and isinstance(given, str):
        try:
            return parse_duration(given)
        except ValueError as error:
            problems.append(source.problem(path, f"expected {kind.value}: {error}"))
            return None
    elif kind is Kind.BOOL and isinstance(given, str) and given.lower() in ("yes", "no", "on", "off"):
        return _BOOLS[given.lower()]
    elif _fits(kind, given):
        return given
    found = "a secret" if flag.secret else describe(given)
    hint = "; write it in quotes" if kind is Kind.TEXT and isinstance(given, int | float) else ""
    hint = hint or ('; write it with a unit, such as "30s"' if kind is Kind.DURATION and isinstance(given, int) else "")
    problems.append(source.problem(path, f"expected {kind.value}, found {found}{hint}"))
    return None


def _fits(kind: Kind, given: object) -> bool:
    if kind is Kind.TEXT:
        return isinstance(given, str)
    if kind is Kind.BOOL:
        return isinstance(given, bool)
    if kind is Kind.COUNT and given == AUTO:
        return True
    return kind in (Kind.INT, Kind.COUNT) and isinstance(given, int) and not isinstance(given, bool)


def _unknown(source: Source, key: str, allow_unknown_keys: bool) -> list[Problem]:
    if key in OLD_KEYS:
        new = f"; its place is now {OLD_KEYS[key]}" if OLD_KEYS[key] else ""
        message = f"this key is of an older release and has no effect{new}"
        return [source.problem((key,), message, warning=True, key=True), *_hidden(source, key)]
    if key in FLAGS:
        return [source.problem((key,), f"this can only be given on the command line, as --{key}", key=True)]
    words = _words_of_flags()
    suggestion = words.get(closest(key, words), "")
    if place := _place_of(key, suggestion, has_rules=bool(source.values.get("ingress"))):
        message, suggestion = f"{key} does not belong here; {place}", ""
    else:
        message = "unknown key"
    # What may guard something, or hide what does, stays an error whatever the user allows.
    guards = bool(guard_meant(key)) or suggestion in GUARDING_FLAGS or suggestion in SECURITY_HOLDERS
    warning = allow_unknown_keys and not guards
    problem = source.problem((key,), message, suggestion=suggestion, warning=warning, key=True)
    return [problem, *(_hidden(source, key) if warning else ())]


def _hidden(source: Source, key: str) -> list[Problem]:
    """Return an error for each guarding key below `key`, which is passed over."""
    problems = ProblemList()
    add_hidden_guards(source.values[key], (key,), problems)
    return [source.problem(problem.path, problem.message, key=True) for problem in problems.problems]


def _place_of(key: str, flag: str, *, has_rules: bool) -> str:
    """Say where a key belongs that is none of the top level, or "" where it is more probably a slip in `flag`."""
    if guard_meant(key):
        return misplaced(key).partition("; ")[2]
    if flag in STRUCTURED_KEYS:
        return ""
    meant = [(table, where, table.suggest(key)) for table, where in _INNER_KEYS]
    for table, where, name in meant:
        if name and plain(name) == plain(key):
            return _advice(table, where, name, key)
    if has_rules and flag in REQUEST_FLAGS:  # beside rules it would do nothing
        return f"write {REQUEST_FLAGS[flag]} under originRequest"
    near = [(table, where, name) for table, where, name in meant if name]
    if not near or flag:
        return ""
    from difflib import SequenceMatcher  # only for those who made a slip

    table, where, name = max(near, key=lambda each: SequenceMatcher(None, plain(each[2]), plain(key)).ratio())
    return _advice(table, where, name, key)


def _advice(table: Table, where: str, name: str, key: str) -> str:
    of_a_rule = " of a rule" if table is ORIGIN_REQUEST and table[name].only_in_rules else ""
    return f"write {'it' if name == key else name} {where}{of_a_rule}"


@functools.cache
def _words_of_flags() -> dict[str, str]:
    """Top-level keys by their names and by those that people try for them."""
    flags = [flag for flag in FLAGS.values() if flag.in_file]
    words = {alias: flag.name for flag in flags for alias in (*flag.aliases, *flag.also_tried) if len(alias) > 1}
    # What has no effect is no advice: its name leads nowhere, so that a slip in another key is not taken for it.
    useful = [flag.name for flag in flags if flag.has_effect]
    return words | {"rules": "ingress"} | {name: name for name in (*STRUCTURED_KEYS, *useful)}
