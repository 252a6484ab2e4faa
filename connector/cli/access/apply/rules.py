"""Rules of policies and groups as files have them: the API's form, or the short one, which refers by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconnector.connector.cli.access.apply.wanted import LISTS, Rule
from pyconnector.ingress.config.errors import closest, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyconnector.connector.config.problems import Path
    from pyconnector.connector.config.yaml_source import Source

#: Kinds of rules, and the field of each in the API; none where the rule alone says it.
FIELDS = {
    "everyone": "", "any_valid_service_token": "", "service_token": "token_id", "group": "id", "email": "email",
    "email_domain": "domain", "ip": "ip", "role": "role", "label": "label", "login_method": "id",
}  # fmt: skip
#: Those that refer to an object, by its name or its id.
REFERENCES = ("service_token", "group", "login_method")
#: What the rule `oidc` says: its provider by name or id, a claim, and what that has to hold.
CLAIM_FIELDS = ("identity_provider_id", "claim_name", "claim_value")
_SERVICE = {"service_token", "any_valid_service_token", "role", "label"}
_PEOPLE = {"email", "email_domain", "login_method", "oidc"}
_DECISIONS = ("allow", "deny", "non_identity", "bypass")
_OTHER_NAMES = {"service_auth": "non_identity", "service-auth": "non_identity", "block": "deny"}


class RuleReader:
    """Reads the rules of one file."""

    def __init__(self, wrong: Callable[[Path, str], None], unknown: Callable[[Path, Collection[str]], None]) -> None:
        self._wrong = wrong
        self._unknown = unknown
        self._short: list[tuple[Path, str, str]] = []

    def lists(self, at: Path, row: dict[str, Any]) -> dict[str, list[Rule]]:
        """Return `include`, `require` and `exclude`, each as rules."""
        found: dict[str, list[Rule]] = {}
        for name in LISTS:
            rows = row.get(name)
            if isinstance(rows, dict | str):
                rows = [rows]
            if rows is not None and not isinstance(rows, list):
                self._wrong((*at, name), f"lists rules, and this is {describe(rows)}")
                rows = None
            rules = [self._rule((*at, name, index), rule) for index, rule in enumerate(rows or ())]
            found[name] = [rule for rule in rules if rule is not None]
        if not row.get("include"):
            self._wrong(at, "include has no rule, so nobody would be meant")
        return found

    def decision(self, at: Path, row: dict[str, Any], lists: dict[str, list[Rule]]) -> str:
        """Return what a policy decides; what cannot be meant as it is written is what it means."""
        given = row.get("decision")
        decision = _OTHER_NAMES.get(given, given) if isinstance(given, str) else given
        if not isinstance(decision, str) or decision not in _DECISIONS:
            said = f"{given[:50]!r} is no decision" if isinstance(given, str) else "a decision is missing"
            meant = closest(str(given), (*_DECISIONS, *_OTHER_NAMES))
            self._wrong(
                (*at, "decision"),
                f"{said}: {', '.join(_DECISIONS)} are" + (f"; did you mean {meant}?" if meant else ""),
            )
            return ""
        kinds = {kind for rules in lists.values() for kind, _ in rules}
        if decision == "allow" and kinds & _SERVICE:
            if kinds & _PEOPLE:
                self._wrong(
                    (*at, "decision"),
                    "people and service tokens in one policy: make it two, allow for people, non_identity for tokens",
                )
            return "non_identity"
        return decision

    def take_corrections(self, source: Source) -> list[str]:
        """Return what was written shorter than the API has it, with its place, once."""
        told, self._short = self._short, []
        lines = []
        for at, kind, value in told:
            place = source.problem(at, "")
            lines.append(
                f"{place.file}:{place.line}:{place.column}: `{kind}: {value}` is taken as the {kind.replace('_', ' ')} "
                "of that name or id"
            )
        return lines

    def _rule(self, at: Path, rule: Any) -> Rule | None:
        if isinstance(rule, str):
            rule = {rule: {}}
        if not isinstance(rule, dict) or len(rule) != 1:
            self._wrong(at, "a rule has one kind, such as `- everyone` or `- role: reader`")
            return None
        kind, value = next(iter(rule.items()))
        if kind == "oidc":
            return self._claim((*at, kind), value)
        if kind not in FIELDS:
            self._unknown((*at, kind), (*FIELDS, "oidc"))
            return None
        field = FIELDS[kind]
        if not field:
            if value not in ({}, None, True):
                self._wrong((*at, kind), f"{kind} has nothing beside it")
            return (kind, "")
        if isinstance(value, str) and value:
            if kind in REFERENCES:
                self._short.append(((*at, kind), kind, value))
            return (kind, value)
        names = (field, "name") if kind in REFERENCES else (field,)
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in names:
            inner = next(iter(value.values()))
            if isinstance(inner, str) and inner:
                return (kind, inner)
        self._wrong((*at, kind), f"write `{kind}: VALUE`, or `{kind}: {{{field}: VALUE}}`")
        return None

    def _claim(self, at: Path, value: Any) -> Rule | None:
        given = dict(value) if isinstance(value, dict) else {}
        if "identity_provider" in given and "identity_provider_id" not in given:
            given["identity_provider_id"] = given.pop("identity_provider")
        if set(given) != set(CLAIM_FIELDS) or not all(isinstance(text, str) and text for text in given.values()):
            self._wrong(at, "write `oidc: {identity_provider: NAME, claim_name: groups, claim_value: VALUE}`")
            return None
        return ("oidc", {name: given[name] for name in CLAIM_FIELDS})
