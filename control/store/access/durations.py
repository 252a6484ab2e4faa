"""Durations as the API spells them: `8760h`, `1h30m`, or `forever`. Pure."""

from __future__ import annotations

import datetime
import re

from pyconnector.control.store.errors import Invalid

FOREVER = "forever"
#: The longest that is taken for one: a hundred years.
MAX_SECONDS = 100 * 365 * 86_400
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"([\d.]+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str, code: int) -> float:
    """Return the seconds of a duration.

    Raises:
        Invalid: it is none; `forever` is none either.
    """
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not _DURATION.fullmatch(text) or not 0 <= seconds <= MAX_SECONDS:
        raise Invalid(f"{text[:60]!r} is no duration such as 24h or 1h30m.", code)
    return seconds


def end_of(text: str, begin: datetime.datetime, code: int) -> datetime.datetime | None:
    """Return when what begins at `begin` ends; None for `forever`.

    Raises:
        Invalid: it is no duration.
    """
    return None if text == FOREVER else begin + datetime.timedelta(seconds=seconds_of(text, code))
