"""`pyconnector edge`, and the edge that `pyconnector run --local` embeds."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.audit.options import audit_flags
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.service import Signals, serve
from pyconnector.connector.config import ConnectorConfig, Credentials, LogConfig, Problem
from pyconnector.connector.observe.log import LogSetup
from pyconnector.edge.cli_settings import EdgeFlags, parse_address, settings_from_flags
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import EdgeSettings, SettingsError, TunnelSettings, VisitorSettings
from pyconnector.ingress.config.services import StreamService, redacted

if TYPE_CHECKING:
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.edge.settings import HostPort
    from pyconnector.ingress import Rule

#: Account that a tunnel of `run --local` belongs to.
LOCAL_ACCOUNT = "local"
#: What visitors of a TCP port ask for where a rule takes every name.
ANY_TCP_HOST = "tcp.invalid"


def run_edge(given: Mapping[str, Any]) -> int:
    """Run a local edge until a signal; return the exit code.

    Raises:
        ConfigError: a flag cannot be used.
        StartFailed: an address is taken.
    """
    log = LogConfig(level=given["loglevel"])
    try:
        own = {name: value for name, value in given.items() if name in EdgeFlags.__dataclass_fields__}
        settings = settings_from_flags(EdgeFlags(**own, audit=audit_flags(given)))
    except SettingsError as error:
        raise ConfigError([Problem(message=str(error))]) from error
    setup = LogSetup(log)
    try:
        return run_loop(lambda: _serve_edge(settings))
    finally:
        setup.close()


async def _serve_edge(settings: EdgeSettings) -> int:
    signals = Signals()
    with signals.installed():
        edge = await _started(settings)
        try:
            click.echo(f"connectors: --edge {_text(edge.quic_address)} --cacert {shlex.quote(str(edge.ca_path))}")
            click.echo(f"visitors:   http://{_text(edge.visitor_address)}/")
            if edge.gateway is not None and edge.gateway.http_address is not None:
                click.echo(f"CONNECT:    {_text(edge.gateway.http_address)}")
            if edge.gateway is not None and edge.gateway.socks_address is not None:
                click.echo(f"SOCKS5:     {_text(edge.gateway.socks_address)}")
            if edge.visitor_tls_address is not None:
                click.echo(f"over TLS:   {edge.visitors_url}/")
            if edge.control_address is not None:
                click.echo(f"control:    http://{_text(edge.control_address)}/")
            await signals.stop.wait()
            await hand_over(edge, signals)
        finally:
            await edge.stop()
    return CLEAN


async def hand_over(edge: LocalEdge, signals: Signals) -> None:
    """Let an edge drain, until a second signal. Cancel leaves it half done."""
    tasks = [asyncio.ensure_future(edge.drain()), asyncio.ensure_future(signals.stop_now.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A connector and an edge in one process, with credentials made for the occasion."""

    credentials: Credentials
    visitors: HostPort

    @classmethod
    def make(cls, visitors: str) -> LocalRun:
        """Make credentials that no one else has, for visitors at `visitors` (HOST:PORT).

        Raises:
            ConfigError: that is no address.
        """
        try:
            address = parse_address(visitors, "--local-visitors")
        except SettingsError as error:
            raise ConfigError([Problem(message=str(error))]) from error
        credentials = Credentials(account_tag=LOCAL_ACCOUNT, tunnel_id=uuid.uuid4(), secret=secrets.token_bytes(32))
        return cls(credentials, address)

    async def serve(
        self,
        config: ConnectorConfig,
        read_config: Callable[[], ConnectorConfig],
        *,
        observers: Sequence[Observer] = (),
    ) -> int:
        """Start the edge, and a connector to it, until a signal. Cancel stops both.

        Raises:
            ConnectorError: either could not be started.
        """
        tunnel = TunnelSettings(
            account_tag=self.credentials.account_tag,
            tunnel_id=self.credentials.tunnel_id,
            secret=self.credentials.secret,
        )
        visitors = VisitorSettings(address=self.visitors)
        # The connector tells of each connection; what the edge next to it has to say of it is the same again.
        edge_log = logging.getLogger("pyconnector.edge")
        edge_log.setLevel(logging.NOTSET if edge_log.isEnabledFor(logging.DEBUG) else logging.WARNING)
        edge = await _started(EdgeSettings(tunnels=(tunnel,), visitors=visitors, control=None))
        try:
            ports = [(rule, await edge.add_tcp_port(_tcp_host(rule))) for rule in config.ingress.rules if _is_tcp(rule)]

            def dialling(config: ConnectorConfig) -> ConnectorConfig:
                return config.with_edge(_text(edge.quic_address), ca_file=str(edge.ca_path))

            return await serve(
                dialling(config),
                lambda: dialling(read_config()),
                lambda: _say_what_to_open(edge, config, ports),
                observers=observers,
            )
        except SettingsError as error:
            raise StartFailed(str(error)) from error
        finally:
            await edge.stop()


async def _started(settings: EdgeSettings) -> LocalEdge:
    edge = LocalEdge(settings)
    try:
        await edge.start()
    except SettingsError as error:
        raise StartFailed(str(error)) from error
    return edge


def _say_what_to_open(edge: LocalEdge, config: ConnectorConfig, ports: list[tuple[Rule, int]]) -> None:
    address = _text(edge.visitor_address)
    click.echo("\nThe local edge is connected. Try:\n")
    for rule in config.ingress.rules:
        if _is_tcp(rule):
            continue
        path = rule.path if rule.path.startswith("/") else "/"
        host = "" if rule.hostname in ("", "*") else f"-H 'Host: {rule.hostname.replace('*', 'any', 1)}' "
        click.echo(f"  curl {host}http://{address}{path}    -> {redacted(rule.service)}")
    for rule, port in ports:
        name = f"{rule.hostname} -> " if rule.hostname else ""
        click.echo(f"  {edge.visitor_address[0]}:{port} (TCP)    -> {name}{redacted(rule.service)}")
    click.echo("\nCtrl-C ends it.\n")


def _is_tcp(rule: Rule) -> bool:
    return isinstance(rule.service, StreamService) and "*" not in rule.hostname


def _tcp_host(rule: Rule) -> str:
    """The name that a TCP port asks for; one that no other rule has where the rule takes every name."""
    return rule.hostname or ANY_TCP_HOST


def _text(address: HostPort) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
