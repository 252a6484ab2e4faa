"""Tables, JSON and YAML in the forms of the reference (api.md 4)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

import click
import yaml

from pyconnector.connector.cli.account.errors import CommandFailed

#: How the reference writes a moment that there is not.
ZERO_TIME = "0001-01-01T00:00:00Z"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns that are as wide as their widest cell and a blank, the last one too."""
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(line[index]) for line in lines) + 1 for index in range(len(columns))]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n" for line in lines
    )


def print_structured(form: str, value: object, value_for_yaml: object) -> None:
    """Print a value as JSON or YAML.

    Raises:
        CommandFailed: `form` is neither.
    """
    if form == "json":
        text = json.dumps(value, indent=2, ensure_ascii=False)
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        click.echo(text)
    elif form == "yaml":
        click.echo("\n".join(_yaml_lines(value_for_yaml)))
    else:
        raise CommandFailed(f"Unknown output format '{form}'")


def check_form(form: str, prefix: str = "") -> None:
    """Refuse what is no format before anything is done.

    Raises:
        CommandFailed: `form` is neither empty nor json nor yaml.
    """
    if form not in ("", "json", "yaml"):
        raise CommandFailed(f"{prefix}Unknown output format '{form}'")


def exact_time(text: str | None) -> str:
    """Return a moment of the API with as many digits of a second as it needs."""
    if not text:
        return ZERO_TIME
    moment = _moment(text)
    if moment is None:
        return ZERO_TIME
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def short_time(text: str | None) -> str:
    """Return a moment of the API to the second, for tables."""
    moment = _moment(text) if text else None
    return "-" if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def long_time(text: str | None) -> str:
    """Return a moment of the API as `info` writes it."""
    exact = exact_time(text)
    return exact.replace("T", " ").removesuffix("Z") + " +0000 UTC"


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except ValueError:
        return None


def _yaml_lines(value: object, column: int = 0) -> list[str]:
    """Return lines of YAML from `column` on; what is nested begins at the next multiple of 4, as in the reference."""
    margin, inner = " " * column, 4 * ((column + 4) // 4)
    if isinstance(value, list):
        lines = []
        for entry in value:
            first, *rest = _yaml_lines(entry, column + 2)
            lines += [f"{margin}- {first.lstrip()}", *rest]
        return lines or [f"{margin}[]"]
    if not isinstance(value, dict):
        return [margin + _yaml_scalar(value)]
    lines = []
    for name, entry in value.items():
        if isinstance(entry, dict | list) and entry:
            lines += [f"{margin}{name}:", *_yaml_lines(entry, inner)]
        else:
            lines.append(f"{margin}{name}: {_yaml_scalar(entry)}")
    return lines


class Moment(str):
    """A text that YAML has a form of its own for, and that is written so."""

    __slots__ = ()


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[]"
    if value is None:
        return "null"
    text = str(value)
    if isinstance(value, Moment) or not isinstance(value, str):
        return text
    return text if _is_plain(text) else json.dumps(text, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    if not text or text.lower() in {"y", "n", "yes", "no", "on", "off"} or not text.isprintable():
        return False
    try:
        return bool(yaml.safe_load(f"a: {text}") == {"a": text})
    except yaml.YAMLError:
        return False
