"""From a config file, the environment and the command line to one `ConnectorConfig`, or to every problem at once.

Called by the command line, and by embedding programs that keep their settings in such a file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any
from uuid import UUID

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import credentials as credential_sources
from pyconnector.connector.config.flag_values import collect, without_effect
from pyconnector.connector.config.flags import AUTO, FLAGS, ONE_ORIGIN_FLAGS, REPORTED_FLAGS, REQUEST_FLAGS
from pyconnector.connector.config.model import (
    MAX_CONNECTIONS,
    MAX_GRACE_PERIOD,
    ConnectorConfig,
    Credentials,
    EdgeConfig,
    LifecycleConfig,
    LogConfig,
    PrivateConfig,
    RemoteConfig,
)
from pyconnector.connector.config.problems import Path, Problem, in_order
from pyconnector.connector.config.rules import Rules, demands_access, load_rules
from pyconnector.connector.config.yaml_source import Source, read_source
from pyconnector.connector.discovery.addresses import split_host_port
from pyconnector.connector.observe.log import LEVELS
from pyconnector.connector.workers.share import can_have_workers, cores
from pyconnector.ingress.config.durations import format_duration
from pyconnector.ingress.config.errors import closest, describe
from pyconnector.ingress.config.services import without_passwords
from pyconnector.origins.dns.virtual import MAX_ADDRESSES, parse_address
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import QuicSettings
from pyconnector.transport.tls.edge_roots import find_roots

#: Names a config file has in the default directories.
FILE_NAMES = ("config.yml", "config.yaml")
_TAG = re.compile(r"([a-zA-Z0-9!#$%&'*+\-.^_`|~]+)=([\x20-\x7e]+)")
#: What other programs call a log level.
_LEVELS_OF_OTHERS = {
    "warning": "warn", "err": "error", "critical": "fatal", "crit": "fatal", "panic": "fatal", "trace": "debug",
    "verbose": "debug", "notice": "info", "information": "info",
}  # fmt: skip
#: Least flow control window, in bytes: a smaller one may not hold a registration, or makes every request wait.
MIN_WINDOW = 65_536
#: The words that some flags take.
CHOICES = {
    "protocol": ("auto", "quic", "http2", "h2mux"),
    "quic-engine": ("auto", "aioquic", "qh3"),
    "congestion-control": ("auto", "bbr", "cubic", "reno"),
    "edge-ip-version": ("auto", "4", "6"),
    "output": ("default", "json"),
}


def find_config() -> str | None:
    """Return the config file in the first default directory that has one (reference/ingress.md 1.1)."""
    for directory in credential_sources.DEFAULT_DIRECTORIES:
        for name in FILE_NAMES:
            path = FilePath(directory).expanduser() / name
            if path.is_file():
                return str(path)
    return None


def load_config(
    path: str | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    allow_unknown_keys: bool = False,
    credentials: Credentials | None = None,
    tunnel: str | None = None,
) -> ConnectorConfig:
    """Read the config file `path` (None for none), with `overrides` by flag name taking precedence.

    `credentials` and `tunnel` replace those that the config names.

    Raises:
        ConfigError: it cannot be used; every problem is listed with its place.
    """
    source = read_source(path) if path is not None else Source(file="")
    return _Loading(source, overrides or {}, allow_unknown_keys, tunnel).config(credentials)


def check_config(
    path: str, overrides: Mapping[str, Any] | None = None, *, allow_unknown_keys: bool = False
) -> tuple[Rules | None, list[Problem]]:
    """Return the rules of the config file `path` (None if they cannot be used) and everything that is wrong with it.

    Credentials and other files that it names are not looked at: it may be for another machine.
    """
    try:
        source = read_source(path)
    except ConfigError as error:
        return None, list(error.problems)
    loading = _Loading(source, overrides or {}, allow_unknown_keys)
    rules = loading.rules(must_have_rules=True)
    loading.settings()
    return rules, in_order(loading.problems)


@dataclass(slots=True)
class _Loading:
    """One config while it is being made, with what was found wrong so far."""

    source: Source
    overrides: Mapping[str, Any]
    allow_unknown_keys: bool
    tunnel: str | None = None
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def rules(self, *, must_have_rules: bool = False) -> Rules | None:
        """Read flags and rules; None where the rules cannot be used."""
        self.problems += self.source.warnings
        self.values = collect(self.source, self.overrides, self.problems, allow_unknown_keys=self.allow_unknown_keys)
        return load_rules(
            self.source,
            self.values,
            self.problems,
            allow_unknown_keys=self.allow_unknown_keys,
            must_have_rules=must_have_rules,
        )

    def settings(self) -> tuple[EdgeConfig, LifecycleConfig, LogConfig, tuple[tuple[str, str], ...]]:
        """Return what the flags say, problems aside, and warn of those that do nothing. `rules` comes before."""
        self._warn_of_one_origin()
        if unused := without_effect(self.values):
            message = f"no effect in this connector: {', '.join(unused)}"
            self.problems.append(Problem(message=message, file=self.source.file, warning=True))
        self._check_choices()
        if not isinstance(tunnel := self.source.values.get("tunnel"), str | None):
            hint = "; write it in quotes" if isinstance(tunnel, int | float) else ""
            message = f"expected the tunnel's UUID or name, found {describe(tunnel)}{hint}"
            self.problems.append(self.source.problem(("tunnel",), message))
        return self._edge(), self._lifecycle(), self._log(), self._tags()

    def config(self, given: Credentials | None) -> ConnectorConfig:
        """Return the config, or raise ConfigError with all that is wrong."""
        rules = self.rules()
        edge, lifecycle, log, tags = self.settings()
        if rules is not None and self.values.get("keep-local-access") and not demands_access(rules.ingress):
            self._problem(
                "keep-local-access", "no rule of the config requires access, so nothing would be kept in force"
            )
        if edge.ca_file is not None:
            self._check_authorities(edge.ca_file)
        credentials = given or self._credentials()
        if credentials is not None and credentials.endpoint not in ("", edge.region or credentials.endpoint):
            self._problem("region", f"the tunnel is of the region {credentials.endpoint}; leave this out")
        private = self._private()
        workers = self._workers(lifecycle.ha_connections)
        max_flows = self._positive("max-active-flows", 0, least=0) if "max-active-flows" in self.values else None
        if rules is None or credentials is None or any(not problem.warning for problem in self.problems):
            raise ConfigError(in_order(self.problems))
        if credentials.endpoint:
            edge = replace(edge, region=credentials.endpoint)
        return ConnectorConfig(
            credentials=credentials,
            ingress=rules.ingress,
            warp_routing=rules.warp_routing,
            edge=edge,
            lifecycle=lifecycle,
            log=log,
            remote=self._remote(),
            private=private,
            tags=tags,
            features=self.values.get("features", ()),
            label=self.values.get("label", ""),
            max_active_flows=max_flows,
            metrics=self.values.get("metrics"),
            pidfile=self.values.get("pidfile"),
            workers=workers,
            configuration_flags=self._reported(),
            shown_flags=self._shown(),
            file=self.source.file,
            prechecks=not self.values.get("no-prechecks", False),
            watch=not self.values.get("no-config-watch", False),
            warnings=tuple(problem for problem in self.problems if problem.warning),
        )

    # -- groups ----------------------------------------------------------------------------------------------------

    def _edge(self) -> EdgeConfig:
        values = self.values
        for index, address in enumerate(values.get("edge", ())):
            try:
                split_host_port(address)
            except ValueError as error:
                self._problem("edge", str(error), index)
        bind, ip_version = values.get("edge-bind-address"), values.get("edge-ip-version", "auto")
        if bind is not None:
            try:
                family = str(ipaddress.ip_address(bind).version)
            except ValueError:
                self._problem("edge-bind-address", f'"{bind}" is no IP address')
            else:
                if ip_version not in ("auto", family):
                    self._warn("edge-ip-version", f"IPv{family} is used, since edge-bind-address is {bind}")
                ip_version = family
        defaults = QuicSettings()
        return EdgeConfig(
            addresses=values.get("edge", ()),
            region=values.get("region", ""),
            ca_file=str(FilePath(values["cacert"]).expanduser()) if values.get("cacert") else None,
            ip_version=ip_version,
            bind_address=bind,
            post_quantum=values.get("post-quantum", False),
            protocol=self._protocol(),
            quic=QuicSettings(
                engine=values.get("quic-engine", "auto"),
                congestion_control=values.get("congestion-control", "auto"),
                connection_window=self._positive(
                    "quic-connection-level-flow-control-limit", defaults.connection_window, least=MIN_WINDOW
                ),
                stream_window=self._positive(
                    "quic-stream-level-flow-control-limit", defaults.stream_window, least=MIN_WINDOW
                ),
            ),
        )

    def _protocol(self) -> str:
        """The protocol; where only post-quantum key exchange will do, QUIC, for HTTP/2 cannot be held to it."""
        protocol: str = self.values.get("protocol", "auto")
        if protocol == "h2mux":
            self._warn("protocol", "h2mux is gone, and http2 is used in its place")
            protocol = "http2"
        if not self.values.get("post-quantum"):
            return protocol
        if protocol == "http2":
            self._problem("protocol", "http2 cannot be held to post-quantum key exchange; use quic with post-quantum")
        return "quic"

    def _lifecycle(self) -> LifecycleConfig:
        grace = self.values.get("grace-period", 30.0)
        if not 0 <= grace <= MAX_GRACE_PERIOD:
            self._problem("grace-period", f"must be between 0s and {format_duration(MAX_GRACE_PERIOD)}")
        timeout = self.values.get("rpc-timeout", 5.0)
        if timeout <= 0:
            self._problem("rpc-timeout", "must be longer than 0s")
        return LifecycleConfig(
            ha_connections=self._positive("ha-connections", 4, most=MAX_CONNECTIONS),
            retries=self._positive("retries", 5, least=0),
            grace_period=grace,
            rpc_timeout=timeout,
        )

    def _workers(self, connections: int) -> int:
        """How many processes there are to be: none without a connection of its own."""
        wanted = self.values.get("workers", 1)
        if wanted == AUTO:
            return min(cores(), connections) if can_have_workers() else 1
        count = self._positive("workers", 1, most=MAX_CONNECTIONS)
        if count > 1 and not can_have_workers():
            self._problem("workers", "this system cannot hand sockets to other processes; leave it out")
        if count > connections:
            self._warn("workers", f"{count} workers share {connections} connections: there will be {connections}")
        return min(count, connections)

    def _log(self) -> LogConfig:
        level = self.values.get("loglevel", "info").lower()
        if level not in LEVELS:
            meant = _LEVELS_OF_OTHERS.get(level, "") or closest(level, LEVELS)
            message = f'"{level}" is no log level (debug, info, warn, error, fatal)'
            self._problem("loglevel", f"{message}; did you mean {meant}?" if meant else message)
            level = "info"
        return LogConfig(
            level=level,
            output=self.values.get("output", "default"),
            file=self.values.get("logfile"),
            directory=self.values.get("log-directory"),
            access=self.values.get("access-log"),
        )

    def _remote(self) -> RemoteConfig:
        return RemoteConfig(
            refuse=self.values.get("no-remote-config", False), keep_access=self.values.get("keep-local-access", False)
        )

    def _private(self) -> PrivateConfig:
        resolvers: list[tuple[str, int]] = []
        given = self.values.get("dns-resolver-addrs", ())
        if len(given) > MAX_ADDRESSES:
            self._problem("dns-resolver-addrs", f"at most {MAX_ADDRESSES} resolvers can be given, not {len(given)}")
        for index, text in enumerate(given[:MAX_ADDRESSES]):
            try:
                resolvers.append(parse_address(text))
            except ValueError as error:
                self._problem("dns-resolver-addrs", str(error), index)
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
            self._problem(flag, f'"{text}" is no IPv{version} address')
            return None
        return address

    def _warn_of_one_origin(self) -> None:
        """Warn of flags of the one origin that do nothing, since the config has rules."""
        if not self.source.values.get("ingress"):
            return
        for name in dict.fromkeys((*ONE_ORIGIN_FLAGS, *REQUEST_FLAGS)):
            if name in self.values:
                instead = f"; write {REQUEST_FLAGS[name]} under originRequest" if name in REQUEST_FLAGS else ""
                self._warn(name, f"{name} has no effect, since the config has ingress rules{instead}")

    def _tags(self) -> tuple[tuple[str, str], ...]:
        tags = []
        for index, text in enumerate(self.values.get("tag", ())):
            match = _TAG.fullmatch(text)
            if match is None:
                self._problem("tag", f'"{text}" is no tag; write NAME=VALUE in printable ASCII', index)
            else:
                tags.append((match[1], match[2]))
        return tuple(tags)

    def _credentials(self) -> Credentials | None:
        values, tunnel = self.values, self.tunnel or self.source.values.get("tunnel")
        try:
            if values.get("token"):
                return credential_sources.from_token(values["token"])
            if values.get("token-file"):
                self._warn_of_permissions(values["token-file"])
                return credential_sources.from_token_file(values["token-file"])
            tunnel_id = self._tunnel_id(tunnel)
            if values.get("credentials-contents"):
                found = credential_sources.from_json(values["credentials-contents"].encode())
            else:
                path = values.get("credentials-file") or (tunnel_id and credential_sources.find_file(tunnel_id))
                if not path:
                    self._no_credentials(tunnel_id)
                    return None
                self._warn_of_permissions(path)
                found = credential_sources.from_file(path)
        except credential_sources.CredentialsError as error:
            self._problem(error.setting, str(error))
            return None
        if tunnel_id is None or tunnel_id == found.tunnel_id:
            return found
        message = f"the credentials are those of tunnel {found.tunnel_id}, not of {tunnel_id}; the edge may refuse them"
        self.problems.append(self.source.problem(("tunnel",), message, warning=True))
        return replace(found, tunnel_id=tunnel_id)

    def _tunnel_id(self, tunnel: object) -> UUID | None:
        """The tunnel's id; None where the config names it otherwise or not at all: the credentials know it too."""
        if tunnel is None:
            return None
        if not isinstance(tunnel, str):
            return None  # `settings` says so
        try:
            return UUID(tunnel)
        except ValueError:
            return None

    def _no_credentials(self, tunnel_id: UUID | None) -> None:
        where = (
            f" and no {tunnel_id}.json was found in {credential_sources.DEFAULT_DIRECTORIES[0]}" if tunnel_id else ""
        )
        message = f"no tunnel credentials: set credentials-file, or give TUNNEL_TOKEN{where}"
        self.problems.append(Problem(message=message, file=self.source.file))

    def _warn_of_permissions(self, path: str) -> None:
        if warning := credential_sources.permission_warning(path):
            self.problems.append(Problem(message=warning, file=self.source.file, warning=True))

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _check_authorities(self, file: str) -> None:
        """A file that vouches for nobody stops the start: every attempt to connect would fail."""
        if not FilePath(file).is_file():
            self._problem("cacert", f"the file {file} does not exist")
            return
        try:
            find_roots(file)
        except ConnectFailed as error:
            self._problem("cacert", error.reason)

    def _check_choices(self) -> None:
        for name, choices in CHOICES.items():
            value = self.values.get(name)
            if value is not None and value not in choices:
                meant = closest(value, choices)
                message = f'"{value}" is not one of {", ".join(choices)}'
                self._problem(name, f"{message}; did you mean {meant}?" if meant else message)

    def _positive(self, name: str, default: int, *, least: int = 1, most: int = (1 << 62) - 1) -> int:
        value: int = self.values.get(name, default)
        if not least <= value <= most:
            self._problem(name, f"must be between {least} and {most}")
            return default
        return value

    def _reported(self) -> tuple[tuple[str, str], ...]:
        """The flags that the edge is told of, as text."""
        return tuple((name, _as_text(self.values[name])) for name in REPORTED_FLAGS if self.values.get(name))

    def _shown(self) -> tuple[tuple[str, str], ...]:
        """The flags that are set and no secrets; of an address not the password in it."""
        shown = []
        for name, value in sorted(self.values.items()):
            if not FLAGS[name].secret:
                text = without_passwords(_as_text(value))
                absolute = name in ("logfile", "log-directory") and isinstance(text, str)
                shown.append((name, str(FilePath(text).expanduser().absolute() if absolute else text)))
        return tuple(shown)

    def _problem(self, flag: str, message: str, index: int | None = None, *, warning: bool = False) -> None:
        """Record a problem at the flag's place in the file, or as one of the command line."""
        if flag in self.overrides or flag not in self.source.values:
            self.problems.append(Problem(message=f"--{flag}: {message}", warning=warning))
            return
        path: Path = (flag,) if index is None else (flag, index)
        self.problems.append(self.source.problem(path, message, warning=warning, key=warning))

    def _warn(self, flag: str, message: str) -> None:
        self._problem(flag, message, warning=True)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_duration(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)
