"""What a gateway is told when it starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pyconnector.edge.settings import HostPort, SettingsError, host_port_text, is_loopback

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.identity.network_rules import NetworkRule
    from pyconnector.identity.service_tokens import ServiceToken


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The way into the private network. Without a rule nobody reaches anything."""

    http: HostPort | None = None
    "Where HTTP CONNECT is served; None for nowhere."
    socks: HostPort | None = None
    "Where SOCKS5 is served; None for nowhere."
    wireguard: str = ""
    "The IP address at which devices come in by WireGuard, each by its own UDP port; empty for nowhere."
    tokens: tuple[ServiceToken, ...] = ()
    rules: tuple[NetworkRule, ...] = ()
    "In their order."
    audiences: tuple[str, ...] = ()
    "Of the applications whose tokens (JWT) are credentials here, beside service tokens."
    certificate: Path | None = None
    key: Path | None = None
    "PEM files of the listeners' certificate (chain) and key."
    own_certificate: bool = False
    "In place of these, a certificate of the edge's own authority."
    names: tuple[str, ...] = ()
    "Names of the edge in that certificate, beside its usual ones."

    http3: bool = True
    "Whether HTTP/3 is served too, at the UDP port of the same number as `http`; with TLS only."

    def __post_init__(self) -> None:
        if self.http is None and self.socks is None and not self.wireguard:
            raise SettingsError("a gateway needs an address for HTTP CONNECT, for SOCKS5 or for WireGuard")
        if self.wireguard:
            try:
                ip_address(self.wireguard)
            except ValueError:
                raise SettingsError(
                    "the gateway's wireguard is an IP address, such as 0.0.0.0: the ports are the devices' own"
                ) from None
        if (self.certificate is None) is not (self.key is None):
            raise SettingsError("a certificate of the gateway needs its key, and a key its certificate")
        for address in (self.http, self.socks):
            if address is not None and not is_loopback(address[0]) and not self.has_tls:
                raise SettingsError(
                    f"a gateway at {host_port_text(address)} needs TLS: clients show their secrets there"
                )
        seen: set[str] = set()
        for token in self.tokens:
            if token.client_id in seen:
                raise SettingsError(f"the client id {token.client_id} is given twice")
            seen.add(token.client_id)
        if len({rule.id for rule in self.rules}) != len(self.rules):
            raise SettingsError("two network rules have the same id")

    @property
    def has_tls(self) -> bool:
        """Whether the listeners speak TLS."""
        return self.own_certificate or self.certificate is not None


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's TLS context.

    Raises:
        SettingsError: the files cannot be read, or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(f"{certificate} and {key} are no certificate and its key: {exc.strerror or exc}") from exc
    return context
