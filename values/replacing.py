"""`replace`, without the library's list of fields, which is made only for those who ask for it."""

from __future__ import annotations

from typing import Any


def replace(value: Any, /, **changes: object) -> Any:
    """Return a copy of `value` with `changes`, as `dataclasses.replace` does.

    Raises:
        TypeError: the class has no such field, or does not take it.
    """
    for name, each in value.__value_recipe__.fields.items():
        if each.init:
            changes.setdefault(name, getattr(value, name))
    return value.__class__(**changes)
