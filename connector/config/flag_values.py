"""The value of every flag: given on the command line, else by the environment, else by the config file.

Types are strict, as in the reference: a number for a text flag is a fault in a file (reference/ingress.md 1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from connector.config.flags import FLAGS, OLD_KEYS, STRUCTURED_KEYS, Flag, Kind
from connector.config.problems import Problem
from ingress.durations import parse_duration
from ingress.faults import closest, describe

if TYPE_CHECKING:
    from connector.config.yaml_source import Source

_BOOLS = {
    "true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False,
    "t": True, "f": False,
}  # fmt: skip


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
    """Return the flags that are set, by name: text, bool, int, seconds or a tuple of texts. Faults go to `problems`.

    `overrides` are what the command line and the environment give: texts, or values of the flag's own type.
    """
    values: dict[str, Any] = {}
    for name, given in overrides.items():
        value = _override(FLAGS[name], given, problems)
        if value is not None:
            values[name] = value
    for key, given in source.values.items():
        if key in STRUCTURED_KEYS:
            continue
        flag = FLAGS.get(key)
        if flag is None or not flag.in_file:
            problems.append(_unknown(source, key, allow_unknown_keys))
        elif key not in overrides and given is not None:
            value = _from_file(source, flag, given, problems)
            if value is not None:
                values[key] = value
    return values


def without_effect(values: Mapping[str, Any]) -> list[str]:
    """Return the names of set flags that do nothing here."""
    return sorted(name for name in values if not FLAGS[name].has_effect)


def _override(flag: Flag, given: Any, problems: list[Problem]) -> Any:
    if not isinstance(given, str):
        return tuple(given) if flag.kind is Kind.TEXTS else given
    if not given and flag.kind is not Kind.TEXTS:
        return None
    try:
        return _parse(flag.kind, given)
    except ValueError as error:
        shown = "" if flag.secret else f', not "{given}"'
        problems.append(Problem(message=f"--{flag.name} expects {flag.kind.value}{shown} ({error})"))
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
    return kind is Kind.INT and isinstance(given, int) and not isinstance(given, bool)


def _unknown(source: Source, key: str, allow_unknown_keys: bool) -> Problem:
    if key in OLD_KEYS:
        new = f"; its place is now {OLD_KEYS[key]}" if OLD_KEYS[key] else ""
        return source.problem((key,), f"this key is of an older release and has no effect{new}", warning=True, key=True)
    if key in FLAGS:
        return source.problem((key,), f"this can only be given on the command line, as --{key}", key=True)
    suggestion = closest(key, (*STRUCTURED_KEYS, *_file_keys()))
    # A misspelt originRequest may hide access settings: it stays a fault whatever the user allows.
    warning = allow_unknown_keys and suggestion not in ("originRequest", "ingress")
    return source.problem((key,), "unknown key", suggestion=suggestion, warning=warning, key=True)


def _file_keys() -> Sequence[str]:
    return [flag.name for flag in FLAGS.values() if flag.in_file]
