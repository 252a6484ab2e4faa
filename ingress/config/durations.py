"""Durations in the syntax of the reference's config: `300ms`, `1.5s`, `2m30s` (reference/ingress.md 1.4).

Values are seconds as float; the text is read with whole nanoseconds, as its own reader does, so that the same
texts are accepted and refused.
"""

from __future__ import annotations

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
#: Longest text that is read as a duration.
MAX_DURATION_CHARACTERS = 128
#: Largest duration in nanoseconds (a signed 64-bit count).
MAX_NANOSECONDS = (1 << 63) - 1
_DIGITS = "0123456789"


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for.

    Raises:
        ValueError: `text` is no duration; its message is a sentence.
    """
    if len(text) > MAX_DURATION_CHARACTERS:
        raise ValueError("the text is too long for a duration")
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError("the text is empty" if not text else "there is nothing after the sign")
    total = 0
    while rest:
        nanoseconds, rest = _take_part(rest)
        total += nanoseconds
    if total > MAX_NANOSECONDS:
        raise ValueError("the duration is longer than 292 years")
    return sign * total / 1_000_000_000


def _take_part(text: str) -> tuple[int, str]:
    """Read one number with its unit from the front of `text`."""
    whole, rest = _take(text, _DIGITS)
    fraction = ""
    if rest.startswith("."):
        fraction, rest = _take(rest[1:], _DIGITS)
    if not whole and not fraction:
        raise ValueError(f"a number was expected at {text!r}")
    unit = ""
    while rest and rest[0] not in _DIGITS and rest[0] != ".":
        unit, rest = unit + rest[0], rest[1:]
    if not unit:
        raise ValueError("a unit is missing (ns, us, ms, s, m or h)")
    if unit not in _NANOSECONDS:
        raise ValueError(f"the unit {unit!r} is not known (ns, us, ms, s, m or h)")
    scale = _NANOSECONDS[unit]
    return int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction), rest


def _take(text: str, characters: str) -> tuple[str, str]:
    end = 0
    while end < len(text) and text[end] in characters:
        end += 1
    return text[:end], text[end:]


def format_duration(seconds: float) -> str:
    """Write seconds the way a config does: `1m30s`, `500ms`, `0s`."""
    nanoseconds = round(abs(seconds) * 1_000_000_000)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        unit = "ms" if nanoseconds >= 1_000_000 else "us" if nanoseconds >= 1_000 else "ns"
        return f"{sign}{_decimal(nanoseconds, _NANOSECONDS[unit])}{unit}"
    text = ""
    for unit in ("h", "m"):
        count, nanoseconds = divmod(nanoseconds, _NANOSECONDS[unit])
        text += f"{count}{unit}" if count else ""
    if nanoseconds:
        text += f"{_decimal(nanoseconds, 1_000_000_000)}s"
    return sign + text


def _decimal(value: int, scale: int) -> str:
    whole, part = divmod(value, scale)
    digits = str(part).rjust(len(str(scale)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


def json_seconds(seconds: float) -> int | float:
    """Return seconds as the JSON number that the edge is sent: whole where it is whole (wire.md 5.6)."""
    return int(seconds) if seconds == int(seconds) else seconds
