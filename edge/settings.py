"""What a local edge is told when it starts: frozen values, checked once, whose secrets never show.

`edge.cli_settings` makes them from flags; tests and the embedding connector write them directly.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pyconnector.transport.settings import QuicSettings
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from uuid import UUID

    from pyconnector.edge.access.login.sinks import PinSettings
    from pyconnector.edge.audit.log import AuditSettings
    from pyconnector.edge.private.gateway.settings import GatewaySettings

#: A host and a port to bind; port 0 takes a free one.
HostPort = tuple[str, int]

#: What connectors may speak.
PROTOCOLS = ("quic", "http2")

_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")

_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,32}")


class SettingsError(ValueError):
    """A setting that the edge cannot start with. Its text is one sentence for whoever wrote it."""


def host_port_text(address: HostPort) -> str:
    """Return HOST:PORT, an IPv6 host in brackets."""
    return join_host_port(*address)


def is_loopback(host: str) -> bool:
    """Return whether `host` is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_hostname(name: str) -> bool:
    """Return whether `name` is a lower-case hostname, perhaps behind `*.`."""
    return len(name) <= 255 and _HOSTNAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """A tunnel that connectors may register for."""

    account_tag: str
    tunnel_id: UUID
    secret: bytes = field(default=b"", repr=False)
    hostnames: tuple[str, ...] = ()
    "Names it serves, perhaps `*.suffix`. None: those of its connector's configuration, and what no other tunnel has."
    exclusive: bool = False
    "Refuse a connection index that another connector holds, with EDUPCONN, in place of letting both serve."
    configuration: bytes | None = field(default=None, repr=False)
    "JSON that each of its connectors is sent once registered; such a tunnel is remotely managed."
    configuration_version: int = 0
    secret_sha256: bytes = field(default=b"", repr=False)
    "In place of `secret`: a control plane does not tell edges the secret itself."
    named_only: bool = False
    "It serves names that are routed to it (`Tunnels.route_name`), whatever its connectors say that they serve."

    def __post_init__(self) -> None:
        if not self.account_tag:
            raise SettingsError(f"tunnel {self.tunnel_id} has no account tag")
        if not self.secret and not self.secret_sha256:
            raise SettingsError(f"tunnel {self.tunnel_id} has an empty secret")
        for name in self.hostnames:
            if not is_hostname(name):
                raise SettingsError(f"{name!r} is no hostname that tunnel {self.tunnel_id} could serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpPort:
    """A local TCP port whose connections go to one destination behind a tunnel."""

    destination: str
    "A hostname, reached over WebSocket through the tunnel's rules; or IP:port, reached as a private-network stream."
    port: int = 0
    tunnel_id: UUID | None = None
    "For IP:port, whose tunnel it is; None for the only one, or the first that has no hostnames of its own."

    def __post_init__(self) -> None:
        if not self.is_address and not is_hostname(self.destination):
            raise SettingsError(f"{self.destination!r} is neither a hostname nor IP:port")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"{self.port} is no port")

    @property
    def is_address(self) -> bool:
        """Whether the destination is IP:port."""
        host, _, port = self.destination.rpartition(":")
        if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
            return False
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            version = ipaddress.ip_address(host[1:-1] if bracketed else host).version
        except ValueError:
            return False
        return (version == 6) == bracketed


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """A certificate that visitors are shown, with its chain, and its key: PEM files, read anew when they change."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitorSettings:
    """How visitors are served over HTTP/1.1 and HTTP/2. Times in seconds."""

    address: HostPort = ("127.0.0.1", 0)
    tls_address: HostPort | None = None
    "Where they are served over TLS, beside `address`."
    certificates: tuple[CertificatePair, ...] = ()
    "Chosen by the name that a visitor asks for (SNI); the first where none has it."
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    "Where proxies stand that end TLS in front of this edge: what they say of a visitor's scheme and address counts."
    identity: bool = True
    "Tell the far end who visits: Cf-Connecting-Ip, X-Forwarded-For, X-Forwarded-Proto and Cf-Ray."
    error_details: bool = True
    "Show visitors why a connector could not serve them; it may name addresses behind the tunnel."
    max_connections: int = 10_000
    head_timeout: float = 30.0
    "From the first byte of a request to the end of its header."
    idle_timeout: float = 75.0
    "Between requests."
    response_timeout: float = 100.0
    "From the request to the head of its response; then the visitor is told 524."
    write_timeout: float = 100.0
    "While a visitor takes next to nothing of a response (`sockets.LEAST_RATE`); then it is cut off."

    def __post_init__(self) -> None:
        if bool(self.certificates) != (self.tls_address is not None):
            raise SettingsError("TLS for visitors needs an address and at least one certificate with its key")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """The control API. It binds loopback addresses alone."""

    address: HostPort = ("127.0.0.1", 0)
    token: str | None = field(default=None, repr=False)
    "Where given, requests need `Authorization: Bearer TOKEN`."

    def __post_init__(self) -> None:
        if not is_loopback(self.address[0]):
            raise SettingsError(f"the control API may listen on loopback only, not on {self.address[0]}")
        if self.token is not None and len(self.token) < 16:
            raise SettingsError("the token of the control API needs at least 16 characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSettings:
    """How an edge is one of several: each serves every name, by way of the one that holds the connector."""

    listen: HostPort = ("127.0.0.1", 0)
    "Where other edges reach it."
    advertise: str = ""
    "The host that they, and connectors, are told; empty for that of the address it listens at."


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """The control plane that an edge follows."""

    url: str
    "Its address, without a path."
    token: str = field(repr=False)
    cache: Path | None = None
    "Where the last snapshot is kept for the next start."
    name: str = "edge"
    join: JoinSettings | None = None
    "Whether it passes requests to the other edges of the control plane, and takes theirs."

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise SettingsError("the address of the control plane begins with http:// or https://")
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise SettingsError("the token for the control plane is empty, or holds characters that no token has")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateRoute:
    """A network behind a tunnel, for an edge without a control plane."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    tunnel_id: UUID
    virtual_network: str = "default"
    "The set of addresses that it belongs to: equal networks of two of them are different ones."


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateHostname:
    """A private name behind a tunnel, perhaps `*.suffix`, looked up by the connector."""

    hostname: str
    tunnel_id: UUID

    def __post_init__(self) -> None:
        if not is_hostname(self.hostname):
            raise SettingsError(f"{self.hostname!r} is no private name")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """Everything about one local edge."""

    address: HostPort | None = ("127.0.0.1", 0)
    "Where connectors reach it; None where they are attached by other means, as in tests."
    protocols: tuple[str, ...] = PROTOCOLS
    "Over which of `PROTOCOLS` they may come, all at one port number: QUIC by UDP, HTTP/2 by TCP."
    visitors: VisitorSettings = VisitorSettings()
    control: ControlSettings | None = ControlSettings()
    tunnels: tuple[TunnelSettings, ...] = ()
    tcp_ports: tuple[TcpPort, ...] = ()
    ca_directory: Path | None = None
    "Where the certificate authority is kept, made at the first start; None for a new one as long as the edge lives."
    any_credentials: bool = False
    "Accept every tunnel with whatever secret it shows first. Only where connectors come from loopback."
    fault_relay: bool = False
    "Put a relay before the QUIC socket that can lose, delay and duplicate packets."
    location: str = "local"
    "The name of this edge, in connectors' logs and in Cf-Ray: letters, digits, `-` and `_`."
    max_connectors: int = 1000
    "Connections of connectors at once."
    quic: QuicSettings = field(default_factory=lambda: QuicSettings(engine="aioquic"))
    "aioquic, because qh3 cannot answer the zero-length connection ids of the reference."

    private_routes: tuple[PrivateRoute, ...] = ()
    private_hostnames: tuple[PrivateHostname, ...] = ()
    gateway: GatewaySettings | None = None
    "The way into the private network for agents; None for none."
    directory: DirectorySettings | None = None
    "The control plane that tells which tunnels and names there are; None for those of `tunnels` alone."
    audit: AuditSettings | None = None
    login_pins: PinSettings | None = None
    "Where one-time PINs go, by which people log in; without it nobody can by a PIN."
    "Where each request is recorded; None where none is."

    def __post_init__(self) -> None:
        if self.any_credentials and self.address is not None and not is_loopback(self.address[0]):
            raise SettingsError(
                f"an edge that accepts any credentials may listen on loopback only, not on {self.address[0]}"
            )
        if not self.protocols or not set(self.protocols) <= set(PROTOCOLS):
            raise SettingsError(f"connectors come over {' or '.join(PROTOCOLS)}, not over {','.join(self.protocols)!r}")
        if not _LOCATION.fullmatch(self.location):
            raise SettingsError(f"{self.location!r} is no name for an edge: use letters, digits, - and _")
        if self.directory is not None and (self.private_routes or self.private_hostnames):
            raise SettingsError("an edge that follows a control plane knows its private routes from there")
        if self.directory is not None and self.gateway is not None and (self.gateway.tokens or self.gateway.rules):
            raise SettingsError("an edge that follows a control plane knows tokens and network rules from there")
        seen: set[UUID] = set()
        for tunnel in self.tunnels:
            if tunnel.tunnel_id in seen:
                raise SettingsError(f"tunnel {tunnel.tunnel_id} is given twice")
            seen.add(tunnel.tunnel_id)
