"""What a search asks of a record: `FIELD=PATTERN`, `FIELD!=PATTERN`, numbers compared, and when it was. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

_CONDITION = re.compile(r"([A-Za-z]\w*)\s*(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda found, wanted: found >= wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    "<": lambda found, wanted: found < wanted,
}


class ConditionError(ValueError):
    """It is no condition. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of them."""

    field: str
    holds: Callable[[Any], bool]
    "Whether a value is wanted; None where the record has no such field."


def parse_condition(text: str) -> Condition:
    """Return a condition.

    Raises:
        ConditionError: it is none.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConditionError(f"{text!r} is not FIELD=VALUE, FIELD!=VALUE, or a comparison such as FIELD>=400")
    name, operator, wanted = found[1], found[2], found[3].strip()
    if operator == "=":
        return Condition(name, lambda value: _matches(value, wanted))
    if operator == "!=":
        return Condition(name, lambda value: not _matches(value, wanted))
    try:
        number = float(wanted)
    except ValueError:
        raise ConditionError(f"{text!r} compares with {wanted!r}, which is no number") from None
    compare = _COMPARE[operator]
    return Condition(
        name,
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(float(value), number),
    )


def parse_moment(text: str, now: datetime.datetime) -> str:
    """Return a moment as records have it: RFC 3339, a date, or how long ago (`90s`, `15m`, `2h`, `7d`).

    Raises:
        ConditionError: it is none.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        moment = now - datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise ConditionError(f"{text!r} is no moment such as 2027-01-15T08:00Z, nor 15m, 2h or 7d ago") from None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
    told = moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    return told.removesuffix("+00:00") + "Z"


def fits(record: dict[str, Any], conditions: Iterable[Condition], since: str = "", until: str = "") -> bool:
    """Return whether a record fits all of it."""
    moment = record.get("Datetime", "")
    if (since and moment < since) or (until and moment > until):
        return False
    return all(condition.holds(record.get(condition.field)) for condition in conditions)


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, list):
        return any(fnmatchcase(_text(each), pattern) for each in value) or (not value and not pattern)
    return fnmatchcase(_text(value), pattern)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
