"""Templates of records: a small part of Go's text/template, which Logpush takes as `record_template`. Pure.

`{{ .Field }}` stands for a field, `{{ "text" }}` for constant text, `{{/* ... */}}` for nothing; `{{-` and `-}}` drop
the blanks beside them.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

_FIELD = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)")
_BLANKS = " \t\r\n"


class TemplateError(ValueError):
    """A template that makes no sense. The text is one sentence."""


@lru_cache(maxsize=256)
def parse_template(text: str) -> tuple[tuple[bool, str], ...]:
    """Return the parts of a template: whether each is a field, and its name or its text.

    Raises:
        TemplateError: an action is not closed, or is none of those that there are.
    """
    parts: list[tuple[bool, str]] = []
    rest, trims = text, False
    while True:
        before, opened, behind = rest.partition("{{")
        before = before.lstrip(_BLANKS) if trims else before
        if not opened:
            return _joined([*parts, (False, before)])
        if behind[:1] == "-" and behind[1:2] in _BLANKS and behind[1:2]:
            before, behind = before.rstrip(_BLANKS), behind[1:]
        end = _end_of(behind)
        action, rest = behind[:end], behind[end + 2 :]
        trims = action[-1:] == "-" and action[-2:-1] in _BLANKS and len(action) > 1
        parts += [(False, before), *_action((action[:-1] if trims else action).strip(_BLANKS))]


def _end_of(text: str) -> int:
    """Return where an action ends: behind its text in quotes or its comment, both of which may hold braces."""
    index, closing = 0, ""
    while index < len(text):
        if closing:
            if closing == '"' and text[index] == "\\":
                index += 1
            elif text.startswith(closing, index):
                index += len(closing) - 1
                closing = ""
        elif text.startswith("}}", index):
            return index
        elif text[index] in '"`':
            closing = text[index]
        elif text.startswith("/*", index):
            closing, index = "*/", index + 1
        index += 1
    raise TemplateError("record_template has an action that is not closed")


def _action(action: str) -> list[tuple[bool, str]]:
    if action.startswith("/*") and action.endswith("*/") and len(action) >= 4:
        return []
    if field := _FIELD.fullmatch(action):
        return [(True, field[1])]
    if len(action) >= 2 and action[0] == action[-1] == "`":
        return [(False, action[1:-1])]
    if action.startswith('"'):
        try:
            value = json.loads(action)
        except ValueError:
            value = None
        if isinstance(value, str):
            return [(False, value)]
    raise TemplateError(f'record_template: {action[:40]!r} is none of .Field, "text" and /* comment */')


def _joined(parts: list[tuple[bool, str]]) -> tuple[tuple[bool, str], ...]:
    return tuple(part for part in parts if part[0] or part[1])
