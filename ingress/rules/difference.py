"""What changed between two configurations, in words for the log.

Services are written without passwords, and of settings only the names: their values may be secrets.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import TYPE_CHECKING

from pyconnector.ingress.config.errors import quoted
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.services import redacted
from pyconnector.ingress.config.warp_routing import WARP_ROUTING

if TYPE_CHECKING:
    from pyconnector.ingress.config.keys.table import Table
    from pyconnector.ingress.config.warp_routing import WarpRouting
    from pyconnector.ingress.rules.rules import Ingress, Rule

#: Changes that are told; of the others only the number.
MAX_TOLD = 20


def difference(
    before: Ingress, after: Ingress, warp_before: WarpRouting, warp_after: WarpRouting, *, most: int = MAX_TOLD
) -> list[str]:
    """Return one phrase for each rule that was added, removed or changed, and for `warp-routing`; at most `most`.

    Rules are told apart by hostname, path and identity: one whose service changed is the same.
    Linear in the rules.
    """
    old, new = _by_place(before), _by_place(after)
    found: list[str] = []
    kept_old: list[int] = []
    for place, rules in new.items():
        known = old.get(place, [])
        for number, (index, rule) in enumerate(rules):
            if number >= len(known):
                found.append(f"added rule #{index}: {_shown(rule)}")
                continue
            kept_old.append(known[number][0])
            if changes := _changes(known[number][1], rule):
                found.append(f"changed rule #{index} ({_place(rule)}): {changes}")
    for place, rules in old.items():
        found += [f"removed rule #{index}: {_shown(rule)}" for index, rule in rules[len(new.get(place, [])) :]]
    if kept_old != sorted(kept_old):
        found.append("changed the order of the rules")
    if names := _names(WARP_ROUTING, warp_before, warp_after):
        found.append(f"changed warp-routing: {', '.join(names)}")
    if len(found) > most:
        found[most - 1 :] = [f"{len(found) - most + 1} more changes"]
    return found


def _by_place(ingress: Ingress) -> dict[tuple[str, str, tuple[str, ...]], list[tuple[int, Rule]]]:
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[int, Rule]]] = defaultdict(list)
    for index, rule in enumerate(ingress.rules):
        found[rule.compared_hostname, rule.path, rule.identity].append((index, rule))
    return found


def _changes(before: Rule, after: Rule) -> str:
    parts = []
    if before.service != after.service:
        old, new = redacted(before.service), redacted(after.service)
        parts.append(f"service {old} -> {new}" if old != new else "service (its password)")
    if before.settings is not after.settings and (names := _names(ORIGIN_REQUEST, before.settings, after.settings)):
        parts.append(f"settings {', '.join(names)}")
    return "; ".join(parts)


def _names(table: Table, before: object, after: object) -> list[str]:
    """The names in the config of what differs."""
    if before == after:
        return []
    names = {key.field: key.name for key in table.keys}
    return [
        names.get(field.name, field.name)
        for field in dataclasses.fields(before)  # type: ignore[arg-type]  # both are dataclasses
        if field.compare and getattr(before, field.name) != getattr(after, field.name)
    ]


def _place(rule: Rule) -> str:
    path = f" path {rule.path}" if rule.path else ""
    who = f" for {quoted(', '.join(rule.identity))}" if rule.identity else ""
    return f"{rule.hostname or '*'}{path}{who}"


def _shown(rule: Rule) -> str:
    return f"{_place(rule)} -> {redacted(rule.service)}"
