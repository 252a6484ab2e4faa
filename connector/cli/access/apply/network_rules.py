"""Network rules as files have them: service tokens by name, in the order in which they are asked. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from pyconnector.identity.network_rules import RuleError, parse_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.config.problems import Path

#: What a rule may be about. Of what is left out any will do, so all of it is as the file has it.
LISTS = (
    "tokens",
    "roles",
    "labels",
    "emails",
    "email_domains",
    "networks",
    "names",
    "ports",
    "protocols",
    "virtual_networks",
)
KEYS = ("name", "action", *LISTS, "precedence", "enabled")
#: Between the precedences of two rules of the files, as the API leaves it.
STEP = 1_000


def read_rule(
    at: Path, row: dict[str, Any], position: int, wrong: Callable[[Path, str], None]
) -> dict[str, Any] | None:
    """Return what a file says of a rule; `position` is its place among those of the files, from 0 on."""
    said = {key: row[key] for key in ("name", "action", *LISTS) if key in row}
    for key in LISTS:
        if isinstance(said.get(key), str | int) and not isinstance(said[key], bool):
            said[key] = [said[key]]
    try:
        parse_rule("", said)
    except RuleError as error:
        wrong(at, str(error))
        return None
    precedence = row.get("precedence", (position + 1) * STEP)
    if isinstance(precedence, bool) or not isinstance(precedence, int) or not 0 <= precedence < 2**31:
        wrong((*at, "precedence"), "a whole number from 0 on is wanted")
        return None
    return normal(said) | {
        "name": said.get("name"), "action": said["action"], "precedence": precedence,
        "enabled": row.get("enabled", True),
    }  # fmt: skip


def normal(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the lists of a rule in one spelling; an empty one where the rule leaves it out."""
    return {key: [_spelling(key, value) for value in rule.get(key) or ()] for key in LISTS}


def told_rule(row: dict[str, Any]) -> dict[str, Any]:
    """Return a rule of the API as a file would say it."""
    return normal(row) | {key: row.get(key) for key in ("action", "precedence", "enabled")}


def key_of(row: dict[str, Any]) -> str:
    """Return what tells a rule of the API from the others: its name, or its id where it has none."""
    return str(row.get("name") or f"without a name ({row['id']})")


def body_of(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return what the API is sent: an empty list there would be none, and is left out to mean any."""
    return {"name": name, **{key: value for key, value in said.items() if key not in LISTS or value}}


def _spelling(key: str, value: Any) -> str:
    text = str(value)
    if key == "networks":
        return str(ipaddress.ip_network(text))
    if key == "email_domains":
        return text.lower().removeprefix("@")
    return text.lower().removesuffix(".") if key in ("names", "emails") else text
