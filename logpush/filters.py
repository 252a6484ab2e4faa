"""Which records are pushed: the filter of a Logpush job, a JSON text (api.md 9). Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

#: Characters of a filter, conditions in it, and how deep they may lie.
MAX_LENGTH = 10_000
MAX_CONDITIONS = 100
MAX_DEPTH = 5

Record: TypeAlias = dict[str, Any]
Predicate: TypeAlias = Callable[[Record], bool]


class FilterError(ValueError):
    """It is no filter. The text is one sentence."""


def parse_filter(text: str, fields: Collection[str]) -> Predicate:
    """Return what tells whether a record is wanted; an empty text wants them all. `fields` are those of the data set.

    Raises:
        FilterError: it is none, or asks for a field that is not there.
    """
    if not text:
        return lambda _: True
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter has at most {MAX_LENGTH} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise FilterError("the filter is no JSON") from None
    if not isinstance(value, dict) or set(value) != {"where"}:
        raise FilterError('a filter is {"where": ...}')
    return _Parser(fields).parse(value["where"], 0)


class _Parser:
    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._count = 0

    def parse(self, value: Any, depth: int) -> Predicate:
        if depth > MAX_DEPTH:
            raise FilterError(f"conditions lie at most {MAX_DEPTH} deep in each other")
        if isinstance(value, dict) and len(value) == 1 and (name := next(iter(value))) in ("and", "or"):
            parts = value[name]
            if not isinstance(parts, list) or not parts:
                raise FilterError(f'"{name}" takes a list of conditions')
            predicates = [self.parse(part, depth + 1) for part in parts]
            decide = all if name == "and" else any
            return lambda record: decide(predicate(record) for predicate in predicates)
        return self._condition(value)

    def _condition(self, value: Any) -> Predicate:
        self._count += 1
        if self._count > MAX_CONDITIONS:
            raise FilterError(f"a filter has at most {MAX_CONDITIONS} conditions")
        if not isinstance(value, dict) or set(value) != {"key", "operator", "value"}:
            raise FilterError("a condition has key, operator and value")
        key, name, wanted = value["key"], value["operator"], value["value"]
        if not isinstance(key, str) or key not in self._fields:
            raise FilterError(f"{str(key)[:50]!r} is no field of this data set")
        if not isinstance(name, str):
            raise FilterError("an operator is a text")
        negated, name = name.startswith("!"), name.removeprefix("!")
        test = _OPERATORS.get(name)
        if test is None or (negated and name in ("lt", "leq", "gt", "geq")):
            raise FilterError(f"{value['operator'][:20]!r} is no operator: {', '.join(_OPERATORS)}, and ! before some")
        _check_value(name, wanted)
        return lambda record: test(record.get(key), wanted) is not negated


def _check_value(name: str, wanted: Any) -> None:
    if name == "in":
        if not isinstance(wanted, list) or not all(isinstance(each, str | int) for each in wanted):
            raise FilterError('"in" takes a list of texts or numbers')
    elif name in ("lt", "leq", "gt", "geq"):
        if isinstance(wanted, bool) or not isinstance(wanted, int | float):
            raise FilterError(f'"{name}" compares numbers')
    elif name in ("startsWith", "endsWith", "contains"):
        if not isinstance(wanted, str):
            raise FilterError(f'"{name}" takes a text')
    elif not isinstance(wanted, str | int | float):
        raise FilterError(f'"{name}" takes a text, a number or a truth value')


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _compared(compare: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    def test(found: Any, wanted: Any) -> bool:
        number = _number(found)
        return number is not None and compare(number, wanted)

    return test


def _texts(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    def test(found: Any, wanted: Any) -> bool:
        if isinstance(found, list):
            return any(isinstance(each, str) and compare(each, wanted) for each in found)
        return isinstance(found, str) and compare(found, wanted)

    return test


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted or str(found).lower() == str(wanted).lower()
    return bool(found == wanted)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "lt": _compared(lambda found, wanted: found < wanted),
    "leq": _compared(lambda found, wanted: found <= wanted),
    "gt": _compared(lambda found, wanted: found > wanted),
    "geq": _compared(lambda found, wanted: found >= wanted),
    "startsWith": _texts(lambda found, wanted: found.startswith(wanted)),
    "endsWith": _texts(lambda found, wanted: found.endswith(wanted)),
    "contains": _texts(lambda found, wanted: wanted in found),
    "in": lambda found, wanted: any(_equal(found, each) for each in wanted),
}
