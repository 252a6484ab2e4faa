"""What the flags of a config say, group by group, with every problem collected on the way. Used by
`connector.config.load`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pyconnector.connector.config.edge_proxy import edge_proxy
from pyconnector.connector.config.flags import AUTO
from pyconnector.connector.config.model import (
    MAX_CONNECTIONS,
    MAX_GRACE_PERIOD,
    EdgeConfig,
    LifecycleConfig,
    LogConfig,
    ManagementConfig,
    PrivateConfig,
    RemoteConfig,
)
from pyconnector.connector.config.problems import Path, Problem
from pyconnector.connector.discovery.addresses import split_host_port
from pyconnector.connector.discovery.places import PROVIDER, parse_discovery
from pyconnector.connector.observe.log import LEVELS
from pyconnector.connector.workers.share import can_have_workers, cores
from pyconnector.identity.management_token import HOSTNAME, HOSTNAMES
from pyconnector.ingress.config.durations import format_duration
from pyconnector.ingress.config.errors import closest
from pyconnector.origins.dns.virtual import MAX_ADDRESSES, parse_address
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from pyconnector.connector.config.yaml_source import Source

_TAG = re.compile(r"([a-zA-Z0-9!#$%&'*+\-.^_`|~]+)=([\x20-\x7e]+)")
#: What other programs call a log level.
_LEVELS_OF_OTHERS = {
    "warning": "warn", "err": "error", "critical": "fatal", "crit": "fatal", "panic": "fatal", "trace": "debug",
    "verbose": "debug", "notice": "info", "information": "info",
}  # fmt: skip
#: Least flow control window, in bytes: a smaller one may not hold a registration, or makes every request wait.
MIN_WINDOW = 65_536
#: What `management-hostname` says where there is to be no management service.
NO_MANAGEMENT = "none"
#: The words that some flags take.
CHOICES = {
    "protocol": ("auto", "quic", "http2", "h2mux"),
    "quic-engine": ("auto", "aioquic", "qh3"),
    "congestion-control": ("auto", "bbr", "cubic", "reno"),
    "edge-ip-version": ("auto", "4", "6", "both"),
    "output": ("default", "json"),
}


@dataclass(slots=True)
class Settings:
    """The flags of one config while it is being made, with what was found wrong so far."""

    source: Source
    overrides: Mapping[str, Any]
    allow_unknown_keys: bool
    tunnel: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def edge(self) -> EdgeConfig:
        """Which edge, and how."""
        values = self.values
        for index, address in enumerate(values.get("edge", ())):
            try:
                split_host_port(address)
            except ValueError as error:
                self.add_problem("edge", str(error), index)
        bind, ip_version = values.get("edge-bind-address"), values.get("edge-ip-version", "auto")
        if bind is not None:
            try:
                family = str(ipaddress.ip_address(bind).version)
            except ValueError:
                self.add_problem("edge-bind-address", f'"{bind}" is no IP address')
            else:
                if ip_version not in ("auto", "both", family):
                    self.warn("edge-ip-version", f"IPv{family} is used, since edge-bind-address is {bind}")
                ip_version = family
        discovery = PROVIDER
        if "edge-discovery" in values:
            try:
                discovery = parse_discovery(values["edge-discovery"])
            except ValueError as error:
                self.add_problem("edge-discovery", str(error))
            if values.get("edge"):
                self.add_problem("edge-discovery", "nothing is looked up where edge is given; leave one of them out")
        defaults = QuicSettings()
        proxy, no_proxy = edge_proxy(
            values, self.environ, problem=self.add_problem,
            warn=lambda text: self.problems.append(Problem(message=text, warning=True)),
        )  # fmt: skip
        return EdgeConfig(
            addresses=values.get("edge", ()),
            region=values.get("region", ""),
            discovery=discovery,
            ca_file=str(FilePath(values["cacert"]).expanduser()) if values.get("cacert") else None,
            ip_version=ip_version,
            bind_address=bind,
            post_quantum=values.get("post-quantum", False),
            protocol=self._protocol(),
            remote_switches=True,
            remote_protocol=not values.get("token"),
            proxy=proxy,
            no_proxy=no_proxy,
            quic=QuicSettings(
                engine=values.get("quic-engine", "auto"),
                congestion_control=values.get("congestion-control", "auto"),
                connection_window=self.positive(
                    "quic-connection-level-flow-control-limit", defaults.connection_window, least=MIN_WINDOW
                ),
                stream_window=self.positive(
                    "quic-stream-level-flow-control-limit", defaults.stream_window, least=MIN_WINDOW
                ),
            ),
        )

    def _protocol(self) -> str:
        """The protocol; where only post-quantum key exchange will do, QUIC, for HTTP/2 cannot be held to it."""
        protocol: str = self.values.get("protocol", "auto")
        if protocol == "h2mux":
            self.warn("protocol", "h2mux is gone, and http2 is used in its place")
            protocol = "http2"
        if not self.values.get("post-quantum"):
            return protocol
        if protocol == "http2":
            message = "http2 cannot be held to post-quantum key exchange; use quic with post-quantum"
            self.add_problem("protocol", message)
        return "quic"

    def lifecycle(self) -> LifecycleConfig:
        """How many connections, and how patient."""
        grace = self.values.get("grace-period", 30.0)
        if not 0 <= grace <= MAX_GRACE_PERIOD:
            self.add_problem("grace-period", f"must be between 0s and {format_duration(MAX_GRACE_PERIOD)}")
        timeout = self.values.get("rpc-timeout", 5.0)
        if timeout <= 0:
            self.add_problem("rpc-timeout", "must be longer than 0s")
        return LifecycleConfig(
            ha_connections=self.positive("ha-connections", 4, most=MAX_CONNECTIONS),
            retries=self.positive("retries", 5, least=0),
            grace_period=grace,
            rpc_timeout=timeout,
            max_edge_addr_retries=(
                self.positive("max-edge-addr-retries", 0, least=0) if "max-edge-addr-retries" in self.values else None
            ),
            write_stream_timeout=self._write_timeout(),
        )

    def _write_timeout(self) -> float:
        timeout: float = self.values.get("write-stream-timeout", 0.0)
        if timeout < 0:
            self.add_problem("write-stream-timeout", "must not be shorter than 0s")
        return timeout

    def workers(self, connections: int) -> int:
        """How many processes there are to be: none without a connection of its own."""
        wanted = self.values.get("workers", 1)
        if wanted == AUTO:
            return min(cores(), connections) if can_have_workers() else 1
        count = self.positive("workers", 1, most=MAX_CONNECTIONS)
        if count > 1 and not can_have_workers():
            self.add_problem("workers", "this system cannot hand sockets to other processes; leave it out")
        if count > connections:
            self.warn("workers", f"{count} workers share {connections} connections: there will be {connections}")
        return min(count, connections)

    def log(self) -> LogConfig:
        """Where the log goes."""
        level = self.values.get("loglevel", "info").lower()
        if level not in LEVELS:
            meant = _LEVELS_OF_OTHERS.get(level, "") or closest(level, LEVELS)
            message = f'"{level}" is no log level (debug, info, warn, error, fatal)'
            self.add_problem("loglevel", f"{message}; did you mean {meant}?" if meant else message)
            level = "info"
        return LogConfig(
            level=level,
            output=self.values.get("output", "default"),
            file=self.values.get("logfile"),
            directory=self.values.get("log-directory"),
            access=self.values.get("access-log"),
        )

    def remote(self) -> RemoteConfig:
        """What becomes of pushed configurations."""
        return RemoteConfig(
            refuse=self.values.get("no-remote-config", False), keep_access=self.values.get("keep-local-access", False)
        )

    def management(self) -> ManagementConfig:
        """What may be looked at from afar."""
        hostname = self.values.get("management-hostname", HOSTNAME)
        if hostname not in (*HOSTNAMES, NO_MANAGEMENT):
            # Under another name nobody would have verified a token: the edge does that for these alone.
            known = f"{HOSTNAME}, or {NO_MANAGEMENT} for no management service"
            self.add_problem("management-hostname", f"can only be {known}")
        return ManagementConfig(
            enabled=hostname != NO_MANAGEMENT, diagnostics=self.values.get("management-diagnostics", True)
        )

    def trace_to(self) -> str | None:
        """Where spans go."""
        url: str | None = self.values.get("trace-to")
        if url and not url.startswith(("http://", "https://")):
            self.add_problem("trace-to", "write the address of a collector: http://HOST:4318")
        return url or None

    def private(self) -> PrivateConfig:
        """How the private network is carried."""
        resolvers: list[tuple[str, int]] = []
        given = self.values.get("dns-resolver-addrs", ())
        if len(given) > MAX_ADDRESSES:
            self.add_problem("dns-resolver-addrs", f"at most {MAX_ADDRESSES} resolvers can be given, not {len(given)}")
        for index, text in enumerate(given[:MAX_ADDRESSES]):
            try:
                resolvers.append(parse_address(text))
            except ValueError as error:
                self.add_problem("dns-resolver-addrs", str(error), index)
        sources = [self._source(f"icmpv{version}-src", version) for version in (4, 6)]
        v4, v6 = sources
        return PrivateConfig(
            dns_resolvers=tuple(resolvers),
            icmpv4_source=v4 if isinstance(v4, ipaddress.IPv4Address) else None,
            icmpv6_source=v6 if isinstance(v6, ipaddress.IPv6Address) else None,
        )

    def _source(self, flag: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        text = self.values.get(flag)
        if not text:
            return None
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            address = None
        if address is None or address.version != version:
            self.add_problem(flag, f'"{text}" is no IPv{version} address')
            return None
        return address

    def tags(self) -> tuple[tuple[str, str], ...]:
        """Names and values that every request is given."""
        tags = []
        for index, text in enumerate(self.values.get("tag", ())):
            match = _TAG.fullmatch(text)
            if match is None:
                self.add_problem("tag", f'"{text}" is no tag; write NAME=VALUE in printable ASCII', index)
            else:
                tags.append((match[1], match[2]))
        return tuple(tags)

    def check_choices(self) -> None:
        """Every flag that takes certain words has one of them."""
        for name, choices in CHOICES.items():
            value = self.values.get(name)
            if value is not None and value not in choices:
                meant = closest(value, choices)
                message = f'"{value}" is not one of {", ".join(choices)}'
                self.add_problem(name, f"{message}; did you mean {meant}?" if meant else message)

    def positive(self, name: str, default: int, *, least: int = 1, most: int = (1 << 62) - 1) -> int:
        """Return a number that must be within bounds, else `default`."""
        value: int = self.values.get(name, default)
        if not least <= value <= most:
            self.add_problem(name, f"must be between {least} and {most}")
            return default
        return value

    def add_problem(self, flag: str, message: str, index: int | None = None, *, warning: bool = False) -> None:
        """Record a problem at the flag's place in the file, or as one of the command line."""
        if flag in self.overrides or flag not in self.source.values:
            self.problems.append(Problem(message=f"--{flag}: {message}", warning=warning))
            return
        path: Path = (flag,) if index is None else (flag, index)
        self.problems.append(self.source.problem(path, message, warning=warning, key=warning))

    def warn(self, flag: str, message: str) -> None:
        """Record a warning."""
        self.add_problem(flag, message, warning=True)
