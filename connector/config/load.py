"""From a config file, the environment and the command line to one `ConnectorConfig`, or to every problem at once.

Called by the command line, and by embedding programs that keep their settings in such a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any
from uuid import UUID

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import credentials as credential_sources
from pyconnector.connector.config.flag_values import collect, without_effect
from pyconnector.connector.config.flags import FLAGS, ONE_ORIGIN_FLAGS, REPORTED_FLAGS, REQUEST_FLAGS
from pyconnector.connector.config.model import (
    ConnectorConfig,
    Credentials,
    EdgeConfig,
    LifecycleConfig,
    LogConfig,
)
from pyconnector.connector.config.problems import Problem, in_order
from pyconnector.connector.config.rules import Rules, demands_access, load_rules
from pyconnector.connector.config.settings import Settings
from pyconnector.connector.config.yaml_source import Source, read_source
from pyconnector.ingress.config.durations import format_duration
from pyconnector.ingress.config.errors import describe
from pyconnector.ingress.config.services import without_passwords
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.tls.edge_roots import find_roots

#: Names a config file has in the default directories.
FILE_NAMES = ("config.yml", "config.yaml")


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
    environ: Mapping[str, str] | None = None,
) -> ConnectorConfig:
    """Read the config file `path` (None for none), with `overrides` by flag name taking precedence.

    `credentials` and `tunnel` replace those that the config names. The proxy variables of `environ` are obeyed
    (`connector.config.edge_proxy`), by default none.

    Raises:
        ConfigError: it cannot be used; every problem is listed with its place.
    """
    source = read_source(path) if path is not None else Source(file="")
    return _Loading(source, overrides or {}, allow_unknown_keys, tunnel, environ or {}).config(credentials)


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


class _Loading(Settings):
    """One config while it is being made."""

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
        # That of the environment is for `tunnel create` and the like, which are run beside this.
        unused = [key for key in without_effect(self.values) if key != "origincert" or key in self.source.values]
        if unused:
            message = f"no effect in this connector: {', '.join(unused)}"
            self.problems.append(Problem(message=message, file=self.source.file, warning=True))
        self.check_choices()
        if not isinstance(tunnel := self.source.values.get("tunnel"), str | None):
            hint = "; write it in quotes" if isinstance(tunnel, int | float) else ""
            message = f"expected the tunnel's UUID or name, found {describe(tunnel)}{hint}"
            self.problems.append(self.source.problem(("tunnel",), message))
        return self.edge(), self.lifecycle(), self.log(), self.tags()

    def config(self, given: Credentials | None) -> ConnectorConfig:
        """Return the config, or raise ConfigError with all that is wrong."""
        rules = self.rules()
        edge, lifecycle, log, tags = self.settings()
        if rules is not None and self.values.get("keep-local-access") and not demands_access(rules.ingress):
            self.add_problem(
                "keep-local-access", "no rule of the config requires access, so nothing would be kept in force"
            )
        if edge.ca_file is not None:
            self._check_authorities(edge.ca_file)
        credentials = given or self._credentials()
        if credentials is not None and credentials.endpoint not in ("", edge.region or credentials.endpoint):
            self.add_problem("region", f"the tunnel is of the region {credentials.endpoint}; leave this out")
        private, management = self.private(), self.management()
        workers = self.workers(lifecycle.ha_connections)
        max_flows = self.positive("max-active-flows", 0, least=0) if "max-active-flows" in self.values else None
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
            remote=self.remote(),
            private=private,
            management=management,
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
            trace_to=self.trace_to(),
            stdin_control=self.values.get("stdin-control", False),
            watch=not self.values.get("no-config-watch", False),
            warnings=tuple(problem for problem in self.problems if problem.warning),
        )

    def _warn_of_one_origin(self) -> None:
        """Warn of flags of the one origin that do nothing, since the config has rules."""
        if not self.source.values.get("ingress"):
            return
        for name in dict.fromkeys((*ONE_ORIGIN_FLAGS, *REQUEST_FLAGS)):
            if name in self.values:
                instead = f"; write {REQUEST_FLAGS[name]} under originRequest" if name in REQUEST_FLAGS else ""
                self.warn(name, f"{name} has no effect, since the config has ingress rules{instead}")

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
            self.add_problem(error.setting, str(error))
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
            self.add_problem("cacert", f"the file {file} does not exist")
            return
        try:
            find_roots(file)
        except ConnectFailed as error:
            self.add_problem("cacert", error.reason)

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


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_duration(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)
