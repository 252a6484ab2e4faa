"""What files want there to be. Plain values; rules refer to each other by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: A rule as it is written: its kind, and what it refers to or its fields.
Rule: TypeAlias = tuple[str, Any]
Place: TypeAlias = str
"`file:line:column`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object that is wanted, by its name."""

    kind: str
    "One of `KINDS`."
    name: str
    place: Place
    fields: dict[str, Any]
    "What is said of it, in the API's words; what is not said is left as it is."


@dataclass(slots=True)
class Wanted:
    """Everything that the files want, and what was understood otherwise than it was written."""

    items: list[Item] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Item]:
        """Return those of a kind, in their order."""
        return [item for item in self.items if item.kind == kind]


TOKEN, GROUP, POLICY, APPLICATION = "service token", "group", "policy", "application"
NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME = "hostname route", "network route", "private hostname route"
#: In the order in which they are made: what others refer to first.
KINDS = (TOKEN, GROUP, POLICY, APPLICATION, NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME)
LISTS = ("include", "require", "exclude")
