"""Reads the files: each mistake with its place, each thing that is meant otherwise than written said."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.access.apply import network_rules, providers
from pyconnector.connector.cli.access.apply.rules import RuleReader
from pyconnector.connector.cli.access.apply.wanted import (
    APPLICATION,
    GROUP,
    NAME_ROUTE,
    NETWORK_ROUTE,
    NETWORK_RULE,
    POLICY,
    PRIVATE_NAME,
    PROVIDER,
    SECTIONS,
    TOKEN,
    Item,
    Wanted,
)
from pyconnector.connector.config.problems import Problem, in_order
from pyconnector.connector.config.yaml_source import Source, read_source
from pyconnector.ingress.config.errors import closest, describe

if TYPE_CHECKING:
    from pyconnector.connector.config.problems import Path

_POLICY_KEYS = ("name", "decision", "include", "require", "exclude", "session_duration")
_APP_KEYS = (
    "name", "type", "domain", "destinations", "policies", "session_duration", "read_service_tokens_from_header",
    "identity_headers", "allowed_idps", "auto_redirect_to_identity",
)  # fmt: skip
_TOKEN_KEYS = ("name", "duration", "enabled", "role", "labels", "owner")
_GROUP_KEYS = ("name", "include", "require", "exclude")
_ROUTE_KEYS = ("hostname", "network", "private_hostname", "tunnel", "virtual_network", "comment")
_TEXTS = {
    "name", "session_duration", "domain", "read_service_tokens_from_header", "duration", "role", "owner", "hostname",
    "network", "private_hostname", "tunnel", "virtual_network", "comment", "type",
    "action",
}  # fmt: skip
_FLAGS = {"enabled", "identity_headers", "auto_redirect_to_identity"}


def read_files(paths: Sequence[str]) -> Wanted:
    """Return what the files want.

    Raises:
        ConfigError: a file cannot be read, or what is in it makes no sense; every mistake with its place.
    """
    wanted = Wanted()
    problems: list[Problem] = []
    for path in paths:
        try:
            source = read_source(path)
        except ConfigError as error:
            problems += error.problems
            continue
        # A second document would be passed over: here it is a mistake.
        problems += [Problem(message=each.message, file=path) for each in source.warnings]
        problems += in_order(_FileReader(source, wanted).read())
    seen: dict[tuple[str, str], str] = {}
    for item in wanted.items:
        before = seen.setdefault((item.kind, item.name), item.place)
        if before != item.place:
            problems.append(Problem(message=f"{item.place}: the {item.kind} {item.name} is there already, at {before}"))
    if problems:
        raise ConfigError(problems)
    return wanted


class _FileReader:
    def __init__(self, source: Source, wanted: Wanted) -> None:
        self._source = source
        self._wanted = wanted
        self._problems: list[Problem] = []
        self._rules = RuleReader(self._wrong, self._unknown)

    def read(self) -> list[Problem]:
        values = self._source.values
        if "decision" in values or ("include" in values and "name" in values):
            # A file that is one policy, as the introduction has it.
            self._wanted.sections.add("policies")
            self._policy((), values)
        elif "domain" in values:
            self._wanted.sections.add("applications")
            self._application((), values)
        else:
            self._sections(values)
        return self._problems

    def _sections(self, values: dict[str, Any]) -> None:
        readers: dict[str, Callable[[Path, dict[str, Any]], None]] = {
            "service_tokens": self._token, "groups": self._group, "policies": self._policy,
            "applications": self._application, "routes": self._route, "identity_providers": self._provider,
            "network_rules": self._network_rule,
        }  # fmt: skip
        for key, rows in values.items():
            name = "applications" if key == "apps" else key
            if name not in readers:
                self._unknown((key,), SECTIONS)
            elif not isinstance(rows, list):
                self._wrong((key,), f"lists objects, and this is {describe(rows)}")
            else:
                self._wanted.sections.add(name)
                for index, row in enumerate(rows):
                    if isinstance(row, dict):
                        readers[name]((key, index), row)
                    else:
                        self._wrong((key, index), f"an object with keys is wanted, not {describe(row)}")

    def _token(self, at: Path, row: dict[str, Any]) -> None:
        fields = self._checked(at, row, _TOKEN_KEYS)
        labels = fields.get("labels")
        if labels is not None:
            if not _are_texts(labels):
                self._wrong((*at, "labels"), "lists texts")
            else:
                fields["labels"] = sorted(set(labels))
        self._add(TOKEN, at, fields)

    def _group(self, at: Path, row: dict[str, Any]) -> None:
        fields = self._checked(at, row, _GROUP_KEYS)
        self._add(GROUP, at, fields | self._rules.lists(at, row))

    def _policy(self, at: Path, row: dict[str, Any]) -> None:
        fields = self._checked(at, row, _POLICY_KEYS)
        lists = self._rules.lists(at, row)
        decision = self._rules.decision(at, row, lists)
        if decision != row.get("decision") and decision:
            line = self._source.problem((*at, "decision"), "")
            self._wanted.corrections.append(
                f"{line.file}:{line.line}:{line.column}: `decision: {row.get('decision')}` is taken as "
                f"`decision: {decision}`: "
                + (
                    "service tokens count under non_identity alone, allow is for people who log in"
                    if row.get("decision") == "allow"
                    else "that is its name in the API"
                )
            )
        short = self._rules.take_corrections(self._source)
        if row.get("decision") == "allow" != decision:
            # Elsewhere the short form is simply how files have it.
            self._wanted.corrections += short
        self._add(POLICY, at, fields | lists | {"decision": decision})

    def _application(self, at: Path, row: dict[str, Any]) -> None:
        fields = self._checked(at, row, _APP_KEYS)
        if fields.pop("type", "self_hosted") != "self_hosted":
            self._wrong((*at, "type"), "self_hosted is the type that there is")
        places = [fields.pop("domain")] if isinstance(fields.get("domain"), str) else []
        for index, place in enumerate(fields.pop("destinations", None) or ()):
            uri = place.get("uri") if isinstance(place, dict) and set(place) <= {"type", "uri"} else place
            if isinstance(uri, str):
                places.append(uri)
            else:
                self._wrong((*at, "destinations", index), "a destination is a text such as app.example.com/path")
        if not places:
            self._wrong(at, "an application needs a domain, or destinations")
        policies = fields.pop("policies", None) or []
        if not isinstance(policies, list):
            self._wrong((*at, "policies"), "lists names of policies")
            policies = []
        names = []
        for index, policy in enumerate(policies):
            name = policy.get("name") if isinstance(policy, dict) and set(policy) == {"name"} else policy
            if isinstance(name, str):
                names.append(name)
            else:
                self._wrong((*at, "policies", index), "a policy is referred to by its name")
        if "allowed_idps" in fields and not _are_texts(fields["allowed_idps"]):
            self._wrong((*at, "allowed_idps"), "lists names of identity providers")
            del fields["allowed_idps"]
        self._add(APPLICATION, at, fields | {"places": list(dict.fromkeys(places)), "policies": names})

    def _route(self, at: Path, row: dict[str, Any]) -> None:
        fields = self._checked(at, row, _ROUTE_KEYS, named=False)
        kinds = {"hostname": NAME_ROUTE, "network": NETWORK_ROUTE, "private_hostname": PRIVATE_NAME}
        given = [key for key in kinds if key in fields]
        if len(given) != 1 or not isinstance(fields.get("tunnel"), str):
            self._wrong(at, "a route has a tunnel and one of hostname, network, private_hostname")
            return
        kind = kinds[given[0]]
        if kind != NETWORK_ROUTE and "virtual_network" in fields:
            self._wrong((*at, "virtual_network"), "is for networks alone")
        if kind == NAME_ROUTE and "comment" in fields:
            self._wrong((*at, "comment"), "is for private routes alone")
        name = str(fields.pop(given[0]))
        if kind == NETWORK_ROUTE:
            try:
                name = str(ipaddress.ip_network(name))
            except ValueError:
                self._wrong((*at, "network"), f"{name[:50]!r} is no network such as 10.0.0.0/8")
        self._add(kind, at, {**fields, "name": name.lower() if kind != NETWORK_ROUTE else name})

    def _provider(self, at: Path, row: dict[str, Any]) -> None:
        self._checked(at, row, providers.KEYS)
        directory = FilePath(self._source.problem(at, "").file or ".").parent
        fields = providers.read_provider(at, row, directory, self._wrong) if isinstance(row.get("name"), str) else None
        if fields is not None:
            self._add(PROVIDER, at, fields)

    def _network_rule(self, at: Path, row: dict[str, Any]) -> None:
        known = len(self._problems)
        self._checked(at, row, network_rules.KEYS)
        if len(self._problems) == known:
            position = len(self._wanted.of(NETWORK_RULE))
            fields = network_rules.read_rule(at, row, position, self._wrong)
            if fields is not None:
                self._add(NETWORK_RULE, at, fields)

    def _checked(self, at: Path, row: dict[str, Any], known: Collection[str], *, named: bool = True) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in row.items():
            if key not in known:
                self._unknown((*at, key), known)
            elif key in _TEXTS and not isinstance(value, str):
                self._wrong((*at, key), f"a text is wanted, not {describe(value)}")
            elif key in _FLAGS and not isinstance(value, bool):
                self._wrong((*at, key), f"true or false is wanted, not {describe(value)}")
            elif key not in ("include", "require", "exclude", "decision"):
                fields[key] = value
        if named and not isinstance(row.get("name"), str):
            self._wrong(at, "a name is missing")
        return fields

    def _add(self, kind: str, at: Path, fields: dict[str, Any]) -> None:
        place = self._source.problem(at, "") if at else self._source.problem(("name",), "")
        text = ":".join(str(part) for part in (place.file, place.line, place.column) if part)
        name = fields.pop("name", "")
        if isinstance(name, str) and name:
            self._wanted.items.append(Item(kind=kind, name=name, place=text, fields=fields))

    def _wrong(self, at: Path, message: str) -> None:
        self._problems.append(self._source.problem(at, message))

    def _unknown(self, at: Path, known: Collection[str]) -> None:
        message, suggestion = f"{at[-1]} is no key here", closest(str(at[-1]), known)
        if not suggestion:
            message += f"; known are {', '.join(known)}"
        self._problems.append(self._source.problem(at, message, suggestion=suggestion, key=True))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
