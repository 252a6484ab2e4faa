"""Which addresses and ports a visitor may choose, for `socks-proxy` and `bastion` (reference/ingress.md 8).

The first rule whose network holds the address and whose ports hold the port decides; where none does, the answer
is no.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_PORT = 65535
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class IpRule:
    """Allow or refuse the addresses of one network, on some ports or (with none given) on all."""

    prefix: Network
    ports: tuple[int, ...] = ()
    allow: bool = False


def parse_prefix(text: str) -> Network:
    """Read a network in CIDR form; bits after the prefix are ignored, and ::ffff:0:0/96 counts as IPv4.

    Raises:
        ValueError: `text` is no CIDR; its message is a sentence.
    """
    if not text:
        raise ValueError("a prefix is needed, such as 10.0.0.0/8")
    address, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()) or len(bits) > 3 or "%" in address:
        raise ValueError("a network in CIDR form is needed, such as 10.0.0.0/8")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("a network in CIDR form is needed, such as 10.0.0.0/8") from error
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96 and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((mapped or 0, network.prefixlen - 96))
    return network


def deciding_rule(rules: Iterable[IpRule], address: Address | str, port: int) -> IpRule | None:
    """Return the first rule that speaks about this destination, or None where none does.

    Raises:
        ValueError: `address` is a text that is no IP address.
    """
    target = ipaddress.ip_address(address)
    if isinstance(target, ipaddress.IPv6Address):
        target = target.ipv4_mapped or (ipaddress.IPv6Address(int(target)) if target.scope_id else target)
    for rule in rules:
        if target in rule.prefix and (not rule.ports or port in rule.ports):
            return rule
    return None


def is_allowed(rules: Iterable[IpRule], address: Address | str, port: int) -> bool:
    """Say whether a visitor may reach `address`:`port`. No rules, and no rule that speaks about it, means no.

    Raises:
        ValueError: `address` is a text that is no IP address.
    """
    rule = deciding_rule(rules, address, port)
    return rule is not None and rule.allow
