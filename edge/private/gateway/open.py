"""Puts a gateway together. Loaded by an edge that has one."""

from __future__ import annotations

import ssl
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import TYPE_CHECKING

from pyconnector.edge.access.entries import NetworkRuleEntry
from pyconnector.edge.authority import EDGE_NAMES
from pyconnector.edge.private.gateway.judge import Judge
from pyconnector.edge.private.gateway.records import Records
from pyconnector.edge.private.gateway.server import Gateway
from pyconnector.edge.private.gateway.settings import GatewaySettings, context_of
from pyconnector.edge.settings import SettingsError
from pyconnector.transport import http2
from pyconnector.transport.settings import ServerTls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyconnector.edge.private.network import PrivateNetwork
    from pyconnector.edge.settings import HostPort
    from pyconnector.edge.visitors.watch import Watch
    from pyconnector.transport.tls.certificates import Authority


def open_gateway(
    settings: GatewaySettings,
    network: PrivateNetwork,
    authority: Authority | None,
    watch: Watch,
    bound: Iterable[HostPort | None],
) -> Gateway:
    """Return a gateway that is not started yet. `bound` is where the edge listens otherwise. Tokens and rules of the
    settings become the gate's, beside which there are none.

    Raises:
        SettingsError: its certificate cannot be used.
    """
    addresses = [*bound, settings.http, settings.socks]
    gate = watch.gate
    for token in settings.tokens:
        gate.state.put("service_token", token)
    for precedence, rule in enumerate(settings.rules):
        gate.state.put("network_rule", NetworkRuleEntry(rule=rule, precedence=precedence))
    tls = _context(settings, authority)
    records = Records(watch.location, gate.clock, watch.audit)
    own = own_addresses(address for address in addresses if address is not None)
    judge = Judge(network, gate, records, audiences=frozenset(settings.audiences), own_addresses=own)
    return Gateway(judge, records, tls=tls)


def own_addresses(bound: Iterable[HostPort]) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return where the edge can be reached: what it binds, and every address of this machine where that is all."""
    found: dict[IPv4Address | IPv6Address, None] = {}
    for host, _ in bound:
        try:
            address = ip_address(host)
        except ValueError:
            continue
        if not address.is_unspecified:
            found[address] = None
            continue
        found.update(dict.fromkeys(_of_this_machine()))
    return tuple(found)


def _of_this_machine() -> Iterator[IPv4Address | IPv6Address]:
    yield from _seen_from_outside()
    # Linux tells all of them: those that it delivers locally.
    before = ""
    for line in _lines("/proc/net/fib_trie"):
        if line.endswith("/32 host LOCAL") and before.startswith("|-- "):
            yield IPv4Address(before[4:])
        before = line
    for line in _lines("/proc/net/if_inet6"):
        yield IPv6Address(int(line.split()[0], 16))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return [line.strip() for line in file]
    except OSError:
        return []


def _seen_from_outside() -> Iterator[IPv4Address | IPv6Address]:
    for family, towards in ((AF_INET, "192.0.2.1"), (AF_INET6, "2001:db8::1")):
        try:
            with socket(family, SOCK_DGRAM) as sock:
                sock.connect((towards, 9))  # sends nothing
                yield ip_address(str(sock.getsockname()[0]).partition("%")[0])
        except OSError:
            continue


def _context(settings: GatewaySettings, authority: Authority | None) -> ssl.SSLContext | None:
    if settings.certificate is not None and settings.key is not None:
        return _with_http2(context_of(settings.certificate, settings.key))
    if not settings.own_certificate:
        return None
    if authority is None:
        raise SettingsError("a gateway with a certificate of the edge's own needs an edge that listens for connectors")
    chain, key = authority.issue(list(dict.fromkeys((*EDGE_NAMES, *settings.names))))
    return _with_http2(http2.server_context(ServerTls(certificate_chain=chain, private_key=key)))


def _with_http2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
