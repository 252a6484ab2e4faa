"""Where a visitor may be connected to when the visitor chooses: names become addresses, and ipRules decide on those.

The address that was judged is the address that is dialed, so a name that changes in between gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pyconnector.ingress.rules.ip_rules import IpRule, is_allowed
from pyconnector.origins.base import OriginError
from pyconnector.origins.failures import quoted, unreachable
from pyconnector.origins.net.dial import Endpoint, Resolver, cause_of, literal_target, resolve_name


async def resolve(destination: Endpoint, resolver: Resolver = resolve_name) -> Endpoint:
    """Return `destination` with an address in place of its name: the first IPv4 one, else the first.

    Cancel at any time.

    Raises:
        OriginError: the name has no address.
    """
    if literal_target(destination.host, destination.port) is not None:
        return destination
    try:
        targets = await resolver(destination.host, destination.port)
    except (OSError, UnicodeError) as error:
        cause = cause_of(error, quoted(str(destination))) if isinstance(error, OSError) else "the name is not valid"
        raise unreachable(cause) from error
    targets.sort(key=lambda target: target[0] is not socket.AF_INET)
    if not targets:
        raise unreachable(f"{quoted(destination.host)} has no address")
    return Endpoint(host=targets[0][1][0], port=destination.port)


def check_allowed(rules: Iterable[IpRule], destination: Endpoint) -> None:
    """Raise OriginError (403) unless ipRules allow this address; with no rule about it, they do not."""
    try:
        allowed = is_allowed(rules, destination.host, destination.port)
    except ValueError:
        allowed = False
    if not allowed:
        raise OriginError(f"ipRules do not allow a connection to {quoted(str(destination))}", 403)


def parse_destination(text: str) -> Endpoint:
    """Read what a client's --destination says: a URL or `host:port`, of which only host and port count.

    Raises:
        OriginError: there is no host or no port in it (status 400).
    """
    authority = text.partition("://")[2] or text
    for mark in "/?#":
        authority = authority.partition(mark)[0]
    authority = authority.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise OriginError(f"The destination {quoted(text)!r} is not of the form host:port", 400)
    return Endpoint(host=host, port=int(port))
