"""Objects of Access as a control plane tells an edge of them, read from JSON with every type checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pyconnector.identity.applications.application import Application, ApplicationError, parse_application
from pyconnector.identity.network_rules import NetworkRule, RuleError, parse_rule
from pyconnector.identity.policies.policy import Policy, parse_group, parse_policy
from pyconnector.identity.policies.rules import Group, PolicyError
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken

#: In the order in which a snapshot is taken over.
ACCESS_KINDS = (
    "access_organization",
    "access_key",
    "service_token",
    "access_group",
    "access_policy",
    "access_application",
    "network_rule",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationEntry:
    """What holds for all applications."""

    account_id: str
    auth_domain: str
    deny_unmatched: bool

    @property
    def issuer(self) -> str:
        """Who tokens say that they are from."""
        return f"https://{self.auth_domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A signing key."""

    id: str
    private_pem: str = field(repr=False)
    certificate_pem: str = field(repr=False)
    state: str
    "`current`, `next` or `previous`."
    expires: float | None
    "Seconds since the epoch from which on nothing that it signed is taken."


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRuleEntry:
    """A rule of the private network, and where it stands among the others."""

    rule: NetworkRule
    precedence: int = 0
    "Lower ones are asked first; of equal ones that of the lower id."
    enabled: bool = True


AccessEntry: TypeAlias = OrganizationEntry | KeyEntry | ServiceToken | Group | Policy | Application | NetworkRuleEntry


def parse_access(kind: str, object_id: str, value: dict[str, Any]) -> AccessEntry:
    """Return an object of one of `ACCESS_KINDS`.

    Raises:
        ValueError, KeyError, TypeError: it is none of that kind.
    """
    try:
        return _parsed(kind, object_id, value)
    except (PolicyError, ApplicationError, RuleError) as error:
        raise ValueError(str(error)) from error


def _parsed(kind: str, object_id: str, value: dict[str, Any]) -> AccessEntry:
    match kind:
        case "access_organization":
            return OrganizationEntry(
                account_id=object_id, auth_domain=_text(value["auth_domain"]),
                deny_unmatched=_flag(value["deny_unmatched"]),
            )  # fmt: skip
        case "access_key":
            return KeyEntry(
                id=object_id, private_pem=_text(value["private_pem"]), certificate_pem=_text(value["certificate_pem"]),
                state=_text(value["state"]), expires=_moment(value["expires"]),
            )  # fmt: skip
        case "service_token":
            return _service_token(object_id, value)
        case "access_group":
            return parse_group(object_id, value)
        case "access_policy":
            return parse_policy(object_id, value)
        case "access_application":
            return parse_application(object_id, value)
        case "network_rule":
            precedence = value["precedence"]
            if type(precedence) is not int or not isinstance(value["rule"], dict):
                raise TypeError
            return NetworkRuleEntry(
                rule=parse_rule(object_id, value["rule"]), precedence=precedence, enabled=_flag(value["enabled"])
            )
    raise ValueError(kind)


def _service_token(object_id: str, value: dict[str, Any]) -> ServiceToken:
    secrets = []
    for entry in value["secrets"]:
        sha256 = bytes.fromhex(entry["sha256"])
        if len(sha256) != 32:
            raise ValueError("a digest has 32 bytes")
        secrets.append(SecretDigest(sha256=sha256, expires=_moment(entry["expires"])))
    labels = value["labels"]
    if not isinstance(labels, list):
        raise TypeError
    return ServiceToken(
        id=object_id, client_id=_text(value["client_id"]), name=_text(value["name"]), secrets=tuple(secrets),
        enabled=_flag(value["enabled"]), expires=_moment(value["expires"]),
        valid_after=_moment(value["valid_after"]) or 0.0, role=_text(value["role"]),
        labels=frozenset(map(_text, labels)), owner=_text(value["owner"]),
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _moment(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TypeError
    return float(value)
