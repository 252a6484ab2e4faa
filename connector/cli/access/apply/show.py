"""The plan as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconnector.connector.cli.access.apply.plan import NEW
from pyconnector.connector.cli.access.apply.rules import FIELDS
from pyconnector.connector.cli.access.apply.wanted import GROUP, LISTS, POLICY, PROVIDER, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyconnector.connector.cli.access.apply.current import Current
    from pyconnector.connector.cli.access.apply.plan import Plan, Step

_WORDS = {"virtual_network_id": "virtual network", "places": "destinations"}


def plan_lines(plan: Plan, current: Current) -> Iterator[str]:
    """Yield the lines of a plan: `+` is made, `~` changed, `-` deleted, `=` as it should be, `?` in no file."""
    names = _names(current)
    for step in plan.steps:
        if step.present is None:
            yield plain(f"+ {step.kind} {step.name}")
            for key, value in step.wanted.items():
                if value not in ([], "", None):
                    yield plain(f"    {_word(key)}: {_text(key, value, names)}")
        elif step.changes:
            yield plain(f"~ {step.kind} {step.name}")
            for key, (before, after) in step.changes.items():
                yield from _change(step, key, before, after, names)
        else:
            yield plain(f"= {step.kind} {step.name}")
    for deletion in plan.deletions:
        yield plain(f"- {deletion.kind} {deletion.name}")
    for kind, name in plan.unmentioned:
        yield plain(f"? {kind} {name} is in no file")
    made = sum(step.present is None for step in plan.steps)
    changed = len(plan.needed) - made
    same = len(plan.steps) - len(plan.needed)
    deleted = f"{len(plan.deletions)} to delete, " if plan.deletions else ""
    rest = f"{same} as they should be, {len(plan.unmentioned)} in no file."
    yield f"Plan: {made} to make, {changed} to change, {deleted}{rest}"


def plain(text: str) -> str:
    """Return a line in which nothing moves the cursor: names are whatever somebody chose."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _change(step: Step, key: str, before: Any, after: Any, names: dict[str, str]) -> Iterator[str]:
    if isinstance(before, list) and isinstance(after, list) and key != "policies":
        for value in before:
            if value not in after:
                yield plain(f"    - {_word(key)}: {_one(value, names)}")
        for value in after:
            if value not in before:
                yield plain(f"    + {_word(key)}: {_one(value, names)}")
        if sorted(map(repr, before)) == sorted(map(repr, after)):
            yield plain(f"    {_word(key)}: {_text(key, before, names)} -> {_text(key, after, names)}")
    else:
        yield plain(f"    {_word(key)}: {_text(key, before, names)} -> {_text(key, after, names)}")


def _names(current: Current) -> dict[str, str]:
    found = {row_id: name for kind in (PROVIDER, TOKEN, GROUP, POLICY) for row_id, name in current.names(kind).items()}
    found |= {str(row["client_id"]): name for name, rows in current.objects[TOKEN].items() for row in rows}
    for known in (current.tunnels, current.networks):
        found |= {row_id: name for name, row_id in known.items() if name}
    return found


def _word(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " ") if key not in LISTS else key)


def _text(key: str, value: Any, names: dict[str, str]) -> str:
    if key == "secret":
        return "(not shown)"
    if key == "config":
        return ", ".join(f"{name} {_text('', inner, names)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_one(each, names) for each in value) or "none"
    return _one(value, names)


def _one(value: Any, names: dict[str, str]) -> str:
    if isinstance(value, dict) and len(value) == 1:
        kind, inner = next(iter(value.items()))
        if kind == "oidc":
            provider = _one(inner["identity_provider_id"], names)
            return f"oidc {inner['claim_name']} {inner['claim_value']} of {provider}"
        shown = inner.get(FIELDS.get(kind, ""), "") if isinstance(inner, dict) else inner
        return f"{kind} {_one(shown, names)}".rstrip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value in (None, "") else str(value)
    if isinstance(value, str) and not value:
        return ""
    return f"{text.removeprefix(NEW)} (new)" if text.startswith(NEW) else names.get(text, text)
