"""What a connector is told, as frozen values. Built once, by `connector.config.load` or by an embedding program.

Each part of the connector receives the group it needs, not the whole. Times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from uuid import UUID

from pyconnector.connector.discovery.places import PROVIDER, Discovery
from pyconnector.ingress import Ingress, WarpRouting, default_ingress
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from pyconnector.connector.config.problems import Problem
    from pyconnector.transport.proxy.address import Proxy
    from pyconnector.transport.proxy.bypass import NoProxy
    from pyconnector.transport.seam import Address

#: Longest `--grace-period` (reference/lifecycle.md 10).
MAX_GRACE_PERIOD = 180.0
#: Most connections that one connector keeps up: the index is one byte on the wire (wire.md 4.2).
MAX_CONNECTIONS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves to the edge that this is a connector of that tunnel."""

    account_tag: str
    tunnel_id: UUID
    secret: bytes = field(repr=False)
    endpoint: str = ""
    "Region of the edge to look up; empty for any."


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """Which edge is dialled, and how."""

    addresses: tuple[str, ...] = ()
    "host:port each; empty to look the edge up in DNS."
    region: str = ""
    discovery: Discovery = PROVIDER
    "Where the edge is looked up."
    ca_file: str | None = None
    "PEM file that replaces the system's authorities."
    ip_version: str = "auto"
    bind_address: str | None = None
    post_quantum: bool = False
    protocol: str = "auto"
    "auto, quic or http2."
    remote_switches: bool = False
    "Whether the provider's DNS says over which protocol `auto` begins, and which features are switched on."
    remote_protocol: bool = True
    "Whether that is heard for the protocol too: not for a tunnel by token."
    proxy: Proxy | None = None
    "Carries connections over HTTP/2; None for none."
    no_proxy: NoProxy | None = None
    "What is dialled directly in spite of `proxy`; None for nothing."
    quic: QuicSettings = field(default_factory=QuicSettings)

    def proxy_to(self, address: Address) -> Proxy | None:
        """Return the proxy that `address` is dialled through."""
        return None if self.no_proxy is not None and self.no_proxy.covers(*address) else self.proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleConfig:
    """How many connections, and how patient."""

    ha_connections: int = 4
    retries: int = 5
    grace_period: float = 30.0
    rpc_timeout: float = 5.0
    max_edge_addr_retries: int | None = None
    "Failures of a connection over QUIC, but for one, before it changes to HTTP/2; None: by what worked before."
    write_stream_timeout: float = 0.0
    "In which the edge must take what waits of a response; 0 for no such time."


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Where the command line logs to. An embedding program configures `logging` itself."""

    level: str = "info"
    output: str = "default"
    file: str | None = None
    directory: str | None = None
    name: str = "pyconnector"
    "Of the file in `directory`, without its ending."
    access: str | None = None
    "Where the access log goes: a file, or `-` for standard output; None for nowhere."


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """What becomes of configurations that the edge pushes."""

    refuse: bool = False
    "None is taken; the local rules stay."
    keep_access: bool = False
    "The local rules' `access` stays in force beside whatever is pushed."


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementConfig:
    """What may be looked at from afar, by token."""

    enabled: bool = True
    "Whether there is a management service at all."
    diagnostics: bool = True
    "Whether it shows the metrics."


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateConfig:
    """How the private network is carried, beside `warp-routing`."""

    dns_resolvers: tuple[tuple[str, int], ...] = ()
    "Where the virtual DNS service leads, one at random each time; none for this machine's own resolver."
    icmpv4_source: IPv4Address | None = None
    "The address that echo requests leave from; None for the system's choice."
    icmpv6_source: IPv6Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """Everything that one connector is told."""

    credentials: Credentials
    ingress: Ingress = field(default_factory=default_ingress)
    warp_routing: WarpRouting = field(default_factory=WarpRouting)
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    lifecycle: LifecycleConfig = LifecycleConfig()
    log: LogConfig = LogConfig()
    remote: RemoteConfig = RemoteConfig()
    private: PrivateConfig = PrivateConfig()
    management: ManagementConfig = ManagementConfig()
    tags: tuple[tuple[str, str], ...] = ()
    features: tuple[str, ...] = ()
    label: str = ""
    max_active_flows: int | None = None
    "Overrides warp-routing's, and that of pushed configurations."
    metrics: str | None = None
    "host:port of the metrics server; None for none."
    pidfile: str | None = None
    workers: int = 1
    "Processes of `pyconnector run`, which share out the connections. A `Connector` takes one, whatever this says."
    configuration_flags: tuple[tuple[str, str], ...] = ()
    "Flags the edge is told of with the local configuration (wire.md 5.6)."
    shown_flags: tuple[tuple[str, str], ...] = ()
    "Flags that are set and hold no secret, as text, for diagnostics."
    file: str = ""
    "The config file this came from, for messages."
    prechecks: bool = True
    "Whether the command line checks the way to the edge where that is called for."
    trace_to: str | None = None
    "Where the command line sends spans of requests; None for nowhere."
    stdin_control: bool = False
    "Whether the command line takes commands from standard input."
    watch: bool = True
    "Whether the command line reloads the configuration when that file changes."
    warnings: tuple[Problem, ...] = ()

    def with_edge(self, *addresses: str, ca_file: str | None) -> ConnectorConfig:
        """Return a copy that dials `addresses`, verified against `ca_file`."""
        return replace(self, edge=replace(self.edge, addresses=addresses, ca_file=ca_file))


def changed_connections(old: ConnectorConfig, new: ConnectorConfig) -> list[str]:
    """Return the names of what differs and cannot be changed while connections are up."""
    names = (
        "credentials",
        "edge",
        "lifecycle",
        "tags",
        "metrics",
        "remote",
        "private",
        "management",
        "label",
        "workers",
    )
    return [name for name in names if getattr(new, name) != getattr(old, name)]
