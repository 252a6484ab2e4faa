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
    sections: set[str] = field(default_factory=set)
    "Those that a file has, also where nothing is in them."

    @property
    def kinds(self) -> set[str]:
        """Return the kinds that the files have, and those of sections in which nothing is."""
        found = {item.kind for item in self.items}
        return found | {kind for name in self.sections if not found & set(SECTIONS[name]) for kind in SECTIONS[name]}

    def of(self, kind: str) -> list[Item]:
        """Return those of a kind, in their order."""
        return [item for item in self.items if item.kind == kind]


PROVIDER, TOKEN, GROUP, POLICY = "identity provider", "service token", "group", "policy"
APPLICATION, NETWORK_RULE = "application", "network rule"
NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME = "hostname route", "network route", "private hostname route"
#: In the order in which they are made: what others refer to first.
KINDS = (
    PROVIDER, TOKEN, GROUP, POLICY, APPLICATION, NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME, NETWORK_RULE,
)  # fmt: skip
#: The kinds of each section of a file.
SECTIONS = {
    "identity_providers": (PROVIDER,), "service_tokens": (TOKEN,), "groups": (GROUP,), "policies": (POLICY,),
    "applications": (APPLICATION,), "routes": (NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME),
    "network_rules": (NETWORK_RULE,),
}  # fmt: skip
LISTS = ("include", "require", "exclude")
