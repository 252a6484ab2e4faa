"""Who may reach which private destination: network rules, in their order, and no where none matches. Pure.

In the shape of the network policies of mesh.md 3, with the default that these lack: deny.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pyconnector.identity.people.person import email_of

if TYPE_CHECKING:
    from pyconnector.identity.service_tokens import ServiceToken

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Values in one list of a rule, and rules.
MAX_VALUES: Final = 1_000
MAX_RULES: Final = 1_000
PROTOCOLS: Final = ("tcp", "udp", "icmp")

#: Addresses that a broad rule or route never means: this machine's own, its neighbours', cloud metadata, everybody.
SENSITIVE: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32",
        "168.63.129.16/32", "192.0.0.192/32", "::/128", "::1/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128",
        "fd20:ce::254/128",
    )
)  # fmt: skip


#: IPv6 addresses that stand for an IPv4 address, and where in them it is: whoever dials one may reach the other. IPv4
#: mapped and compatible (RFC 4291 2.5.5), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380, inverted).
_EMBEDDING: Final[tuple[tuple[ipaddress.IPv6Network, int, int], ...]] = tuple(
    (ipaddress.IPv6Network(text), shift, inverted)
    for text, shift, inverted in (
        ("::ffff:0:0/96", 0, 0), ("::/96", 0, 0), ("64:ff9b::/96", 0, 0), ("64:ff9b:1::/48", 0, 0),
        ("2002::/16", 80, 0), ("2001::/32", 0, 0xFFFF_FFFF),
    )
)  # fmt: skip


class RuleError(Exception):
    """A network rule that makes no sense. The text is one sentence for whoever wrote it."""


class Action(Enum):
    """What a rule does with the flows that it means."""

    ALLOW = "allow"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlow:
    """What somebody wants to reach."""

    token: ServiceToken | None
    "None of a person."
    email: str = ""
    "A person's, in lower case; empty of a service token."
    address: Address | None
    "None while a name is not resolved."
    name: str = ""
    "The private name that was asked for; empty where it was an address."
    port: int
    protocol: str
    virtual_network: str = ""
    "Its name."
    source: Address | None = None
    "The Mesh address of the device; None where it has none."
    route: Network | None = None
    "The network whose route leads to `address`; None where a name's does, or none is known yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRule:
    """One rule. An empty set of values means any; what is there must all match."""

    id: str
    name: str = ""
    action: Action
    tokens: frozenset[str] = frozenset()
    "Client ids."
    roles: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    "One of them is enough."
    emails: frozenset[str] = frozenset()
    email_domains: frozenset[str] = frozenset()
    "Of people: one of both is enough. A rule that names service tokens as well means either."
    sources: tuple[Network, ...] = ()
    "Mesh addresses of devices."
    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    "Private names, perhaps `*.suffix`. A destination matches by network or by name."
    ports: tuple[tuple[int, int], ...] = ()
    "First and last of each range."
    protocols: frozenset[str] = frozenset()
    virtual_networks: frozenset[str] = frozenset()

    def matches(self, flow: NetworkFlow) -> bool:
        """Return whether it means `flow`."""
        return (
            self._means(flow.token, flow.email)
            and (not self.sources or _holds(self.sources, flow.source))
            and (not self.protocols or flow.protocol in self.protocols)
            and (not self.virtual_networks or flow.virtual_network in self.virtual_networks)
            and (not self.ports or any(first <= flow.port <= last for first, last in self.ports))
            and self._means_destination(flow)
        )

    def _means(self, token: ServiceToken | None, email: str) -> bool:
        names_tokens = bool(self.tokens or self.roles or self.labels)
        names_people = bool(self.emails or self.email_domains)
        if token is None:
            if not names_people:
                return not names_tokens and bool(email)
            return email in self.emails or email.rpartition("@")[2] in self.email_domains
        if not names_tokens:
            return not names_people
        return (
            (not self.tokens or token.client_id in self.tokens)
            and (not self.roles or token.role in self.roles)
            and (not self.labels or not self.labels.isdisjoint(token.labels))
        )

    def _means_destination(self, flow: NetworkFlow) -> bool:
        if not self.networks and not self.names:
            return True
        if _holds(self.networks, flow.address):
            return True
        return bool(flow.name) and any(name_fits(pattern, flow.name) for pattern in self.names)

    def names_address(self, flow: NetworkFlow, within: Network) -> bool:
        """Return whether one of its networks lies within a sensitive one and holds the flow's address."""
        return any(
            network.version == within.version
            and network.subnet_of(within)  # type: ignore[arg-type]
            and flow.address in network
            for network in self.networks
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDecision:
    """Whether a flow may be, why, and by which rule."""

    allowed: bool
    reason: str
    "One sentence, without a full stop."
    rule: NetworkRule | None = None


def decide(rules: Sequence[NetworkRule], flow: NetworkFlow, own: Sequence[Address] = ()) -> NetworkDecision:
    """Return what the first rule that matches says of `flow`; none is a no.

    A destination that is sensitive, or one of the edge's `own` addresses, needs a rule and a route that name it, and do
    not merely hold it. Names give no way around: what they resolve to counts.
    """
    within = _sensitive(flow.address, own)
    for rule in rules:
        if not rule.matches(flow):
            continue
        if rule.action is Action.BLOCK:
            return NetworkDecision(allowed=False, reason="a rule blocks it", rule=rule)
        if within is None:
            return NetworkDecision(allowed=True, reason="a rule allows it", rule=rule)
        if rule.names_address(flow, within) and _route_names(flow.route, within):
            return NetworkDecision(allowed=True, reason="a rule and a route name it", rule=rule)
    if within is not None:
        return NetworkDecision(allowed=False, reason=f"{flow.address} is within {within}, which no rule and route name")
    return NetworkDecision(allowed=False, reason="no rule allows it")


def name_fits(pattern: str, name: str) -> bool:
    """Return whether a lower-case name is meant by a pattern, perhaps `*.suffix`."""
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def parse_rule(rule_id: str, value: Mapping[str, Any]) -> NetworkRule:
    """Return a rule of its JSON: `name`, `action`, `tokens`, `roles`, `labels`, `emails`, `email_domains`, `sources`,
    `networks`, `names`, `ports`, `protocols`, `virtual_networks`.

    Raises:
        RuleError: it makes no sense, with one sentence.
    """
    known = {"name", "action", "tokens", "roles", "labels", "networks", "names", "ports", "protocols"}
    known |= {"emails", "email_domains", "sources"}
    if unknown := sorted(set(value) - known - {"virtual_networks", "id"}):
        raise RuleError(f"{unknown[0]!r} is nothing that a network rule has.")
    try:
        action = Action(value.get("action"))
    except ValueError:
        raise RuleError("The action of a network rule is allow or block.") from None
    name = value.get("name", "")
    if not isinstance(name, str):
        raise RuleError("The name of a network rule is text.")
    protocols = frozenset(_texts(value, "protocols"))
    if not protocols <= set(PROTOCOLS):
        raise RuleError("The protocols of a network rule are tcp, udp and icmp.")
    names = [text.lower().removesuffix(".") for text in _texts(value, "names")]
    if any("*" in text.removeprefix("*.") or not text.removeprefix("*.") for text in names):
        raise RuleError("A name of a network rule is whole, or begins with `*.`.")
    emails = [email_of(text) for text in _texts(value, "emails")]
    domains = [text.lower().removeprefix("@") for text in _texts(value, "email_domains")]
    if None in emails or not all(email_of(f"a@{domain}") for domain in domains):
        raise RuleError("emails of a network rule are addresses, and email_domains what stands behind their @.")
    return NetworkRule(
        id=rule_id,
        emails=frozenset(email for email in emails if email is not None),
        email_domains=frozenset(domains),
        name=name,
        action=action,
        tokens=frozenset(_texts(value, "tokens")),
        roles=frozenset(_texts(value, "roles")),
        labels=frozenset(_texts(value, "labels")),
        sources=tuple(_network(text) for text in _texts(value, "sources")),
        networks=tuple(_network(text) for text in _texts(value, "networks")),
        names=frozenset(names),
        ports=tuple(_port_range(text) for text in _texts(value, "ports", numbers=True)),
        protocols=protocols,
        virtual_networks=frozenset(_texts(value, "virtual_networks")),
    )


def embedded_address(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift, inverted in _EMBEDDING:
            if address in network:
                return ipaddress.IPv4Address((int(address) >> shift & 0xFFFF_FFFF) ^ inverted)
    return None


def _holds(networks: Sequence[Network], address: Address | None) -> bool:
    return address is not None and any(
        network.version == address.version and address in network for network in networks
    )


def _sensitive(address: Address | None, own: Sequence[Address]) -> Network | None:
    if address is None:
        return None
    for network in SENSITIVE:
        if address.version == network.version and address in network:
            return network
    plain = ipaddress.ip_address(int(address)) if address.version == 4 else ipaddress.IPv6Address(int(address))
    if plain in own:  # whatever zone it was written with
        return ipaddress.ip_network(plain)
    inner = embedded_address(address)
    # Only one address by itself names it then: the range of the inner one is of another version.
    return None if inner is None or _sensitive(inner, own) is None else ipaddress.ip_network(plain)


def _route_names(route: Network | None, within: Network) -> bool:
    return route is not None and route.version == within.version and route.subnet_of(within)  # type: ignore[arg-type]


def _texts(value: Mapping[str, Any], key: str, *, numbers: bool = False) -> list[str]:
    given = value.get(key, [])
    wanted = (str, int) if numbers else (str,)
    if not isinstance(given, list) or any(isinstance(each, bool) or not isinstance(each, wanted) for each in given):
        raise RuleError(f"{key} of a network rule is a list of {'ports' if numbers else 'texts'}.")
    if len(given) > MAX_VALUES:
        raise RuleError(f"{key} of a network rule has at most {MAX_VALUES} values.")
    if key in value and not given:
        # Left out it means any; an empty list looks like none, and would mean any as well.
        raise RuleError(f"{key} of a network rule is empty: leave it out to mean any.")
    return [str(each) for each in given]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise RuleError(f"{text[:100]!r} is no network, such as 10.0.0.0/8.") from None


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    pair = (first, last) if dash else (first, first)
    if all(part.isascii() and part.isdigit() and len(part) <= 5 for part in pair):
        low, high = int(pair[0]), int(pair[1])
        if 0 <= low <= high <= 65_535:
            return low, high
    raise RuleError(f"{text[:100]!r} is no port and no range of ports, such as 8000-8999.")
