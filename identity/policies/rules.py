"""The rules of a policy, each a question about a caller that this edge can answer by itself (api.md 7.3).

Kinds that need a service elsewhere, or what only a provider knows, are refused when they are made, each with its
sentence.
"""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from pyconnector.identity.service_tokens import ServiceToken

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Rules in one list.
MAX_RULES = 100
#: Groups within groups.
MAX_DEPTH = 8
#: Characters of a value in a rule.
MAX_VALUE = 320
#: What the rule `oidc` says.
OIDC_FIELDS = ("identity_provider_id", "claim_name", "claim_value")


class PolicyError(Exception):
    """Rules that make no sense. The text is one sentence for whoever wrote them."""


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True, kw_only=True)
class Caller:
    """What is known of who asks. Nothing in here is the caller's own word."""

    address: Address | None = None
    "Where the connection comes from; None where that is no IP address."
    token: ServiceToken | None = None
    "The service token whose secret, or a token issued for it, was shown."
    user: str = ""
    "The subject of a person who logged in."
    email: str = ""
    provider: str = ""
    "The id of the identity provider by which that person logged in."
    session: str = ""
    "What names the session of that login."
    begun: float = 0.0
    "When that was, in seconds since the epoch."
    claims: Mapping[str, Sequence[str]] | None = None
    "What that provider said of the person besides, as far as it is kept."

    @property
    def known(self) -> bool:
        """Whether it is anybody in particular."""
        return self.token is not None or bool(self.user or self.email)


class Rule(ABC):
    """One question about a caller."""

    __slots__ = ()
    kind: ClassVar[str]
    about: ClassVar[str]
    "What it asks for: `anybody`, `place`, `service`, `person` or `group`."

    @abstractmethod
    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Answer it.

        Raises:
            PolicyError: a group is missing, or groups lie too deep in each other.
        """


@dataclass(frozen=True, slots=True)
class Everyone(Rule):
    """Whoever asks."""

    kind = "everyone"
    about = "anybody"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Yes."""
        return True


@dataclass(frozen=True, slots=True)
class Ip(Rule):
    """Who comes from a network."""

    network: Network
    kind = "ip"
    about = "place"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether the address lies in it; an IPv4 address that is written as IPv6 is one of IPv4."""
        address = caller.address
        mapped = getattr(address, "ipv4_mapped", None)
        return address is not None and (mapped or address) in self.network


@dataclass(frozen=True, slots=True)
class AnyServiceToken(Rule):
    """Who has any service token."""

    kind = "any_valid_service_token"
    about = "service"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether there is one."""
        return caller.token is not None


@dataclass(frozen=True, slots=True)
class OneServiceToken(Rule):
    """Who has a particular service token, named by the id of the object."""

    token_id: str
    kind = "service_token"
    about = "service"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it is that one."""
        return caller.token is not None and caller.token.id == self.token_id


@dataclass(frozen=True, slots=True)
class Role(Rule):
    """Whose service token has a role. An extension: nobody else has roles (access.md 7)."""

    role: str
    kind = "role"
    about = "service"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it has that one."""
        return caller.token is not None and caller.token.role == self.role


@dataclass(frozen=True, slots=True)
class Label(Rule):
    """Whose service token has a label. An extension, as `Role`."""

    label: str
    kind = "label"
    about = "service"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it has that one among its labels."""
        return caller.token is not None and self.label in caller.token.labels


@dataclass(frozen=True, slots=True)
class Email(Rule):
    """A person by e-mail address."""

    email: str
    kind = "email"
    about = "person"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it is that one, in whatever case."""
        return caller.email.lower() == self.email.lower() != ""


@dataclass(frozen=True, slots=True)
class EmailDomain(Rule):
    """A person by what stands behind the `@`."""

    domain: str
    kind = "email_domain"
    about = "person"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it is that domain and none below it."""
        return caller.email.rpartition("@")[2].lower() == self.domain.lower() != ""


@dataclass(frozen=True, slots=True)
class LoginMethod(Rule):
    """A person by the identity provider that they logged in with."""

    provider_id: str
    kind = "login_method"
    about = "person"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it is that one."""
        return caller.provider == self.provider_id != ""


@dataclass(frozen=True, slots=True)
class OidcClaim(Rule):
    """A person of whom an OpenID provider said something at the login: a group, for instance."""

    provider_id: str
    name: str
    value: str
    kind = "oidc"
    about = "person"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether it said that, and it was that provider."""
        claims = caller.claims
        return claims is not None and caller.provider == self.provider_id and self.value in claims.get(self.name, ())


@dataclass(frozen=True, slots=True)
class InGroup(Rule):
    """Who belongs to a group."""

    group_id: str
    kind = "group"
    about = "group"

    def matches(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Whether the group takes the caller."""
        group = groups.get(self.group_id)
        if group is None:
            raise PolicyError(f"there is no group {self.group_id}")
        if depth >= MAX_DEPTH:
            raise PolicyError(f"groups lie more than {MAX_DEPTH} deep in each other")
        return group.conditions.hold(caller, groups, depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """(any of include) and (all of require) and not (any of exclude); without an include nobody is meant."""

    include: tuple[Rule, ...]
    require: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    def hold(self, caller: Caller, groups: Mapping[str, Group], depth: int = 0) -> bool:
        """Return whether `caller` is meant.

        Raises:
            PolicyError: a group is missing, or groups lie too deep in each other.
        """
        # Loops, for generators cost more than most rules do, and this is asked for every request.
        for rule in self.include:
            if rule.matches(caller, groups, depth):
                break
        else:
            return False
        for rule in self.require:
            if not rule.matches(caller, groups, depth):
                return False
        for rule in self.exclude:
            if rule.matches(caller, groups, depth):
                return False
        return True

    @property
    def all(self) -> tuple[Rule, ...]:
        """Every rule in here."""
        return (*self.include, *self.require, *self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Conditions with a name, for several policies."""

    id: str
    name: str
    conditions: Conditions


_ELSEWHERE = "needs a service that is not part of this mesh"
_NO_CLAIMS = "is of a kind of identity provider that is not served here: with OpenID the rule oidc asks for claims"
_REFUSED = {
    "email_list": "needs a list, and there are none here: name the addresses one by one",
    "ip_list": "needs a list, and there are none here: name the networks one by one",
    "geo": "needs a database of countries, and there is none here",
    "certificate": "needs client certificates, which visitors of this edge cannot show",
    "common_name": "needs client certificates, which visitors of this edge cannot show",
    "linked_app_token": "is not served here: give the caller a service token of its own",
    "external_evaluation": _ELSEWHERE,
    "device_posture": _ELSEWHERE,
    "user_risk_score": _ELSEWHERE,
    "cloudflare_account_member": _ELSEWHERE,
} | dict.fromkeys(
    ("auth_method", "azureAD", "okta", "gsuite", "github-organization", "saml", "auth_context"), _NO_CLAIMS
)


def claims_asked(conditions: Iterable[Conditions], provider_id: str) -> set[tuple[str, str]]:
    """Return names and values of the claims of a provider that rules ask for."""
    rules = (rule for each in conditions for rule in each.all)
    return {
        (rule.name, rule.value) for rule in rules if isinstance(rule, OidcClaim) and rule.provider_id == provider_id
    }


def parse_rules(value: object, place: str) -> tuple[Rule, ...]:
    """Return the rules of a JSON list; `place` says which list, for the sentence.

    Raises:
        PolicyError: one of them is none, or of a kind that cannot be answered here.
    """
    if not isinstance(value, list):
        raise PolicyError(f"{place} is no list of rules.")
    if len(value) > MAX_RULES:
        raise PolicyError(f"{place} has more than {MAX_RULES} rules.")
    return tuple(_rule(entry, f"{place}[{index}]") for index, entry in enumerate(value))


def parse_conditions(value: Mapping[str, Any]) -> Conditions:
    """Return the conditions of a policy or group as JSON.

    Raises:
        PolicyError: a rule is none, or nobody could ever be meant.
    """
    include, require, exclude = (parse_rules(value.get(name) or [], name) for name in ("include", "require", "exclude"))
    if not include:
        raise PolicyError("include has no rule, so nobody would be meant.")
    return Conditions(include=include, require=require, exclude=exclude)


def _rule(value: object, place: str) -> Rule:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise PolicyError(f'{place} is no rule: write an object of one kind, such as {{"everyone": {{}}}}.')
    ((kind, fields),) = value.items()
    if kind in _REFUSED:
        raise PolicyError(f"{place}: the rule {kind} {_REFUSED[kind]}.")
    if kind == OidcClaim.kind:
        return _oidc_claim(fields, place)
    made = _KINDS.get(kind)
    if made is None:
        raise PolicyError(f"{place}: there is no kind of rule {str(kind)[:60]!r}.")
    wanted, build = made
    if not isinstance(fields, Mapping) or set(fields) != ({wanted} if wanted else set()):
        form = f'{{"{wanted}": "..."}}' if wanted else "{}"
        raise PolicyError(f'{place}: write the rule as {{"{kind}": {form}}}.')
    if not wanted:
        return build("")
    return build(_text(fields, wanted, place))


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    text = fields[name]
    if not isinstance(text, str) or not text or len(text) > MAX_VALUE or not text.isprintable():
        raise PolicyError(f"{place}: {name} is no text of 1 to {MAX_VALUE} characters.")
    return text


def _oidc_claim(fields: object, place: str) -> Rule:
    if not isinstance(fields, Mapping) or set(fields) != set(OIDC_FIELDS):
        form = ", ".join(f'"{name}": "..."' for name in OIDC_FIELDS)
        raise PolicyError(f'{place}: write the rule as {{"oidc": {{{form}}}}}.')
    return OidcClaim(*(_text(fields, name, place) for name in OIDC_FIELDS))


def _ip(text: str) -> Rule:
    try:
        return Ip(ipaddress.ip_network(text))
    except ValueError:
        raise PolicyError(f"{text[:60]!r} is no network such as 10.0.0.0/8 or 192.0.2.1/32.") from None


def _domain(text: str) -> Rule:
    if "@" in text:
        raise PolicyError(f"{text[:60]!r} is no domain: leave out the @ and what stands before it.")
    return EmailDomain(text)


#: Kind -> its one field, and how the rule is made of it.
_KINDS: dict[str, tuple[str, Callable[[str], Rule]]] = {
    "everyone": ("", lambda _: Everyone()),
    "ip": ("ip", _ip),
    "any_valid_service_token": ("", lambda _: AnyServiceToken()),
    "service_token": ("token_id", OneServiceToken),
    "role": ("role", Role),
    "label": ("label", Label),
    "email": ("email", Email),
    "email_domain": ("domain", _domain),
    "login_method": ("id", LoginMethod),
    "group": ("id", InGroup),
}
