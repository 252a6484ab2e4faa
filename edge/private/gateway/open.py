"""Puts a gateway together. Loaded by an edge that has one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pyconnector.edge.access.entries import NetworkRuleEntry
from pyconnector.edge.authority import EDGE_NAMES
from pyconnector.edge.private.connect_ip.tunnel import ConnectIp
from pyconnector.edge.private.gateway.judge import Judge
from pyconnector.edge.private.gateway.own_addresses import own_addresses
from pyconnector.edge.private.gateway.records import Records
from pyconnector.edge.private.gateway.server import Gateway
from pyconnector.edge.private.gateway.settings import GatewaySettings, context_of
from pyconnector.edge.settings import SettingsError
from pyconnector.protocol.connect_ip import CONNECT_IP
from pyconnector.transport import http2
from pyconnector.transport.http3.connection import ALPN
from pyconnector.transport.settings import ServerTls

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        SettingsError: its certificate cannot be used, or what WireGuard needs is not installed.
    """
    addresses = [*bound, settings.http, settings.socks, (settings.wireguard, 0) if settings.wireguard else None]
    gate = watch.gate
    for token in settings.tokens:
        gate.state.put("service_token", token)
    for precedence, rule in enumerate(settings.rules):
        gate.state.put("network_rule", NetworkRuleEntry(rule=rule, precedence=precedence))
    shown = _certificate(settings, authority)
    tls = None if shown is None else _with_http2(_context(settings, shown))
    records = Records(watch.location, gate.clock, watch.audit)
    judge = Judge(network, gate, records, audiences=frozenset(settings.audiences))
    listened = [address for address in addresses if address is not None]
    gateway = Gateway(
        judge, records, tls=tls, own=lambda: own_addresses(listened),
        quic=shown, http3=settings.http3,
    )  # fmt: skip
    gateway.extensions[CONNECT_IP] = ConnectIp().serve
    if settings.wireguard:
        # Loaded where it is used: most gateways do without it.
        from pyconnector.edge.private.wireguard.ports import DevicePorts

        gateway.wireguard = DevicePorts(gateway, settings.wireguard)
    return gateway


def _certificate(settings: GatewaySettings, authority: Authority | None) -> ServerTls | None:
    if settings.certificate is not None and settings.key is not None:
        try:
            chain, key = settings.certificate.read_bytes(), settings.key.read_bytes()
        except OSError as exc:
            raise SettingsError(f"{exc.filename} cannot be read: {exc.strerror or exc}") from exc
    elif not settings.own_certificate:
        return None
    elif authority is None:
        raise SettingsError("a gateway with a certificate of the edge's own needs an edge that listens for connectors")
    else:
        chain, key = authority.issue(list(dict.fromkeys((*EDGE_NAMES, *settings.names))))
    return ServerTls(certificate_chain=chain, private_key=key, alpn=ALPN)


def _context(settings: GatewaySettings, shown: ServerTls) -> ssl.SSLContext:
    if settings.certificate is not None and settings.key is not None:
        return context_of(settings.certificate, settings.key)
    return http2.server_context(shown)


def _with_http2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
