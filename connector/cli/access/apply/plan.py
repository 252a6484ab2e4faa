"""What has to be done so that what there is becomes what is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.access.apply.current import Current, route_key, told
from pyconnector.connector.cli.access.apply.network_rules import LISTS as RULE_LISTS
from pyconnector.connector.cli.access.apply.rules import FIELDS
from pyconnector.connector.cli.access.apply.wanted import (
    APPLICATION,
    GROUP,
    KINDS,
    LISTS,
    NAME_ROUTE,
    NETWORK_ROUTE,
    NETWORK_RULE,
    POLICY,
    PRIVATE_NAME,
    PROVIDER,
    TOKEN,
    Item,
    Wanted,
)
from pyconnector.connector.config.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Stands for the id of an object that is still to be made, before its name.
NEW = "new:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One object, and what is to be done about it."""

    kind: str
    name: str
    "What tells it from the others of its kind."
    present: dict[str, Any] | None
    "As the API tells it; None: it is to be made."
    wanted: dict[str, Any]
    "What is said of it, with ids in place of names; an id may begin with `NEW`."
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    "Each field that differs: as it is and as it is wanted."

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.present is None or bool(self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """One object that is in no file, of a kind that is pruned."""

    kind: str
    name: str
    present: dict[str, Any]
    "As the API tells it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps, in the order in which they are done, and what no file speaks of."""

    steps: tuple[Step, ...]
    unmentioned: tuple[tuple[str, str], ...]
    "Kind and name of objects of kinds that the files have."
    deletions: tuple[Deletion, ...] = ()
    "In the order in which they are done, after the steps."

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.needed and not self.deletions

    @property
    def needed(self) -> list[Step]:
        """The steps that do something."""
        return [step for step in self.steps if step.needed]


def make_plan(wanted: Wanted, current: Current, pruned: Collection[str] = (), *, send_secrets: bool = False) -> Plan:
    """Return what has to be done. Of the kinds `pruned` what is in no file is deleted; `send_secrets` sends those of
    identity providers anew, which cannot be compared.

    Raises:
        ConfigError: something refers to what is neither there nor wanted; each with its place.
        ApiError: a name is that of several objects.
    """
    resolver = _Resolver(wanted, current)
    steps = []
    for kind in KINDS:
        items = resolver.in_order(wanted.of(kind)) if kind == GROUP else wanted.of(kind)
        steps += [_step(item, resolver, current, send_secrets=send_secrets) for item in items]
    if resolver.problems:
        raise ConfigError(resolver.problems)
    named = {(step.kind, step.name) for step in steps}
    kinds = wanted.kinds | set(pruned)
    rest = [(kind, name) for kind in KINDS if kind in kinds for name in current.objects[kind]]
    rest = sorted(each for each in rest if each not in named)
    return Plan(
        steps=tuple(steps), unmentioned=tuple(each for each in rest if each[0] not in pruned),
        deletions=tuple(_deletions([each for each in rest if each[0] in pruned], current)),
    )  # fmt: skip


def _deletions(rest: list[tuple[str, str]], current: Current) -> list[Deletion]:
    """Return what goes, what refers to others first."""
    rest = sorted(rest, key=lambda each: -KINDS.index(each[0]))
    found = [Deletion(kind=kind, name=name, present=row) for kind, name in rest for row in current.objects[kind][name]]
    groups = [each for each in found if each.kind == GROUP]
    ordered: list[Deletion] = []
    while groups:
        referred = {value for group in groups for value in _groups_of(group.present)}
        free = [group for group in groups if group.present["id"] not in referred] or groups
        ordered += free
        groups = [group for group in groups if group not in free]
    place = next((index for index, each in enumerate(found) if each.kind == GROUP), 0)
    others = [each for each in found if each.kind != GROUP]
    return [*others[:place], *ordered, *others[place:]]


def _groups_of(row: dict[str, Any]) -> set[str]:
    rules = [rule for name in LISTS for rule in row.get(name) or ()]
    return {str(rule["group"].get("id")) for rule in rules if isinstance(rule.get("group"), dict)}


def _step(item: Item, resolver: _Resolver, current: Current, *, send_secrets: bool) -> Step:
    fields = resolver.resolved(item)
    name = item.name
    if item.kind == NETWORK_ROUTE:
        network = item.fields.get("virtual_network", "")
        is_default = fields["virtual_network_id"] == current.networks.get("")
        name = route_key(item.name, "" if is_default else network)
    present = current.find(item.kind, name)
    changes: dict[str, tuple[Any, Any]] = {}
    if present is not None:
        before = told(item.kind, present, current)
        for key, value in fields.items():
            if key == "secret":
                if send_secrets and value is not None:
                    changes[key] = ("", "")
            elif key in before and not _same(key, before[key], value):
                changes[key] = (before[key], value)
    return Step(kind=item.kind, name=name, present=present, wanted=fields, changes=changes)


def _same(key: str, before: Any, after: Any) -> bool:
    if key in LISTS:  # their order means nothing
        return sorted(map(repr, before)) == sorted(map(repr, after))
    if key in ("labels", "allowed_idps", *RULE_LISTS):
        return sorted(before or ()) == sorted(after)
    if key == "places":
        # The first one is shown as the application's; the order of the others means nothing.
        return before[:1] == after[:1] and set(before) == set(after)
    return bool(before == after)


class _Resolver:
    """Finds the id that a name stands for."""

    def __init__(self, wanted: Wanted, current: Current) -> None:
        self._wanted = wanted
        self._current = current
        self.problems: list[Problem] = []

    def resolved(self, item: Item) -> dict[str, Any]:
        fields = dict(item.fields)
        for name in LISTS if item.kind in (GROUP, POLICY) else ():
            fields[name] = [self._rule(item, kind, value) for kind, value in fields[name]]
        if item.kind == APPLICATION:
            fields["policies"] = [self._reference(item, POLICY, name) for name in fields["policies"]]
            if "allowed_idps" in fields:
                fields["allowed_idps"] = [self._reference(item, PROVIDER, name) for name in fields["allowed_idps"]]
        if item.kind == NETWORK_RULE:
            fields["tokens"] = [self._reference(item, TOKEN, name, "client_id") for name in fields["tokens"]]
        if item.kind in (NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME):
            fields["tunnel"] = self._one_of(item, "tunnel", self._current.tunnels, fields["tunnel"])
        if item.kind == NETWORK_ROUTE:
            network = fields.pop("virtual_network", "")
            fields["virtual_network_id"] = self._one_of(item, "virtual network", self._current.networks, network)
        return fields

    def in_order(self, groups: list[Item]) -> list[Item]:
        """Groups that others refer to come first."""
        names, done, left = {item.name for item in groups}, list[Item](), list(groups)
        while left:
            made = {item.name for item in done}
            ready = [item for item in left if not (self._groups_in(item) & names - made)]
            if not ready:
                self.problems.append(Problem(message=f"{left[0].place}: groups refer to each other in a circle"))
                return [*done, *left]
            done += ready
            left = [item for item in left if item not in ready]
        return done

    def _groups_in(self, item: Item) -> set[str]:
        return {value for name in LISTS for kind, value in item.fields[name] if kind == "group"}

    def _rule(self, item: Item, kind: str, value: Any) -> dict[str, Any]:
        if kind == "oidc":
            provider = self._reference(item, PROVIDER, value["identity_provider_id"])
            return {kind: {**value, "identity_provider_id": provider}}
        field_name = FIELDS[kind]
        if kind == "service_token":
            value = self._reference(item, TOKEN, value)
        elif kind == "group":
            value = self._reference(item, GROUP, value)
        elif kind == "login_method":
            value = self._reference(item, PROVIDER, value)
        return {kind: {field_name: value} if field_name else {}}

    def _reference(self, item: Item, kind: str, name: str, field_name: str = "id") -> str:
        rows = self._current.objects[kind]
        present = self._current.find(kind, name)
        if present is not None:
            return str(present[field_name])
        if any(other.name == name for other in self._wanted.of(kind)):
            return NEW + name
        for row in (row for each in rows.values() for row in each):
            if name in (row["id"], row.get("client_id")):
                return str(row[field_name])
        self._missing(item, kind, name, [*rows, *(other.name for other in self._wanted.of(kind))])
        return name

    def _one_of(self, item: Item, kind: str, known: dict[str, str], name: str) -> str:
        if name in known:
            return known[name]
        if name in known.values():
            return name
        self._missing(item, kind, name, known)
        return name

    def _missing(self, item: Item, kind: str, name: str, known: Iterable[str]) -> None:
        from pyconnector.ingress.config.errors import closest

        message = f"{item.place}: {item.kind} {item.name}: there is no {kind} {name}"
        self.problems.append(Problem(message=message, suggestion=closest(name, [each for each in known if each])))
