"""Objects of Access as a control plane tells an edge of them, read from JSON with every type checked. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pyconnector.edge.access.devices import DeviceEntry, parse_device
from pyconnector.identity.applications.application import (
    DEFAULT_SESSION,
    Application,
    ApplicationError,
    parse_application,
)
from pyconnector.identity.network_rules import NetworkRule, RuleError, parse_rule
from pyconnector.identity.people.providers import IdentityProvider, ProviderError, parse_provider
from pyconnector.identity.policies.policy import Policy, parse_group, parse_policy
from pyconnector.identity.policies.rules import Group, PolicyError
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken

#: In the order in which a snapshot is taken over.
ACCESS_KINDS = (
    "access_organization",
    "access_key",
    "service_token",
    "access_identity_provider",
    "access_user",
    "access_ended_session",
    "access_group",
    "access_policy",
    "access_application",
    "access_grant",
    "device",
    "network_rule",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationEntry:
    """What holds for all applications."""

    account_id: str
    auth_domain: str
    deny_unmatched: bool
    name: str = ""
    session_seconds: float = DEFAULT_SESSION
    "For how long people stay logged in."

    @property
    def issuer(self) -> str:
        """Who tokens say that they are from."""
        return f"https://{self.auth_domain}"

    @property
    def audience(self) -> str:
        """Whom tokens of global sessions are for: this organization's login page."""
        return hashlib.sha256(f"organization:{self.account_id}".encode()).hexdigest()


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
class GrantEntry:
    """Leave for one service token to ask for what a token with this id is narrowed to, whatever policies say."""

    id: str
    token_id: str
    application_id: str
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRuleEntry:
    """A rule of the private network, and where it stands among the others."""

    rule: NetworkRule
    precedence: int = 0
    "Lower ones are asked first; of equal ones that of the lower id."
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEntry:
    """A person whose earlier sessions may be worth nothing."""

    id: str
    email: str
    valid_after: float
    "Sessions that began before, in seconds since the epoch, do not count."


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSession:
    """A session that its person ended."""

    nonce: str
    expires: float


AccessEntry: TypeAlias = (
    OrganizationEntry
    | KeyEntry
    | ServiceToken
    | IdentityProvider
    | UserEntry
    | EndedSession
    | Group
    | Policy
    | Application
    | GrantEntry
    | DeviceEntry
    | NetworkRuleEntry
)


def parse_access(kind: str, object_id: str, value: dict[str, Any]) -> AccessEntry:
    """Return an object of one of `ACCESS_KINDS`.

    Raises:
        ValueError, KeyError, TypeError: it is none of that kind.
    """
    try:
        return _parsed(kind, object_id, value)
    except (PolicyError, ApplicationError, RuleError, ProviderError) as error:
        raise ValueError(str(error)) from error


def _parsed(kind: str, object_id: str, value: dict[str, Any]) -> AccessEntry:
    match kind:
        case "access_organization":
            return OrganizationEntry(
                account_id=object_id, auth_domain=_text(value["auth_domain"]),
                deny_unmatched=_flag(value["deny_unmatched"]), name=_text(value.get("name", "")),
                session_seconds=_moment(value.get("session_seconds", DEFAULT_SESSION)) or 0.0,
            )  # fmt: skip
        case "access_key":
            return KeyEntry(
                id=object_id, private_pem=_text(value["private_pem"]), certificate_pem=_text(value["certificate_pem"]),
                state=_text(value["state"]), expires=_moment(value["expires"]),
            )  # fmt: skip
        case "service_token":
            return _service_token(object_id, value)
        case "access_identity_provider":
            return parse_provider(object_id, value)
        case "access_user":
            return UserEntry(
                id=object_id, email=_text(value["email"]), valid_after=_moment(value["valid_after"]) or 0.0
            )
        case "access_ended_session":
            return EndedSession(nonce=object_id, expires=_moment(value["expires"]) or 0.0)
        case "access_group":
            return parse_group(object_id, value)
        case "access_policy":
            return parse_policy(object_id, value)
        case "access_application":
            return parse_application(object_id, value)
    return _parsed_leave(kind, object_id, value)


def _parsed_leave(kind: str, object_id: str, value: dict[str, Any]) -> AccessEntry:
    match kind:
        case "access_grant":
            return _grant(object_id, value)
        case "device":
            return parse_device(object_id, value)
        case "network_rule":
            return _network_rule(object_id, value)
    raise ValueError(kind)


def _grant(object_id: str, value: dict[str, Any]) -> GrantEntry:
    return GrantEntry(
        id=object_id, token_id=_text(value["token_id"]), application_id=_text(value["application_id"]),
        expires=_moment(value["expires"]) or 0.0,
    )  # fmt: skip


def _network_rule(object_id: str, value: dict[str, Any]) -> NetworkRuleEntry:
    precedence = value["precedence"]
    if type(precedence) is not int or not isinstance(value["rule"], dict):
        raise TypeError
    return NetworkRuleEntry(
        rule=parse_rule(object_id, value["rule"]), precedence=precedence, enabled=_flag(value["enabled"])
    )


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
