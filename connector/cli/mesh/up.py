"""Runs a control plane, with an edge beside it or without, and says where everything is."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.audit.options import audit_flags
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.local import hand_over
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.service import Signals
from pyconnector.connector.config import LogConfig, Problem
from pyconnector.connector.observe.log import LogSetup
from pyconnector.edge.audit.flags import audit_settings
from pyconnector.edge.cli_settings import certificate_pairs, login_settings, parse_address, private_file, proxy_networks
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import (
    DirectorySettings,
    EdgeSettings,
    JoinSettings,
    SettingsError,
    VisitorSettings,
    host_port_text,
)
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from pyconnector.control.plane import ControlPlane
    from pyconnector.control.settings import ControlPlaneSettings
    from pyconnector.edge.audit.log import AuditSettings

SNAPSHOT_FILE = "edge-snapshot.json"


def run_mesh(given: Mapping[str, Any]) -> int:
    """Run control plane and edge until a signal; return the exit code.

    Raises:
        ConfigError: a flag cannot be used, or the extra is not installed.
        StartFailed: an address is taken, or the database cannot be used.
    """
    settings = _control_settings(given)
    try:
        # The token is there once the control plane started; this checks the flags before.
        _edge_settings(given, "http://control", "checked later")
    except SettingsError as error:
        raise ConfigError([Problem(message=str(error))]) from error
    return _run(given, lambda: _serve_mesh(settings, given))


def run_control(given: Mapping[str, Any]) -> int:
    """Run a control plane until a signal; return the exit code.

    Raises:
        ConfigError: a flag cannot be used, or the extra is not installed.
        StartFailed: the address is taken, or the database cannot be used.
    """
    settings = _control_settings(given)
    return _run(given, lambda: _serve_control(settings, as_json=given["as_json"]))


def _run(given: Mapping[str, Any], main: Any) -> int:
    setup = LogSetup(LogConfig(level=given["loglevel"]))
    try:
        return run_loop(main)
    finally:
        setup.close()


async def _serve_mesh(settings: ControlPlaneSettings, given: Mapping[str, Any]) -> int:
    signals = Signals()
    with signals.installed():
        async with contextlib.AsyncExitStack() as stack:
            plane = await stack.enter_async_context(_started(settings))
            token = plane.edge_token_file.read_text(encoding="ascii").strip()
            edge = LocalEdge(_edge_settings(given, plane.url, token))
            try:
                await stack.enter_async_context(edge)
            except SettingsError as error:
                _save_first_token(plane)
                raise StartFailed(str(error)) from error
            told = _told(plane) | {
                "edge": [host_port_text(edge.quic_address)],
                "ca": str(plane.ca_pem),
                "visitors": host_port_text(edge.visitor_address),
                "visitors_url": edge.visitors_url,
            }
            _say(told, as_json=given["as_json"])
            await signals.stop.wait()
            await hand_over(edge, signals)
    return CLEAN


async def _serve_control(settings: ControlPlaneSettings, *, as_json: bool) -> int:
    signals = Signals()
    with signals.installed():
        async with _started(settings) as plane:
            _say(_told(plane) | {"edge_token_file": str(plane.edge_token_file)}, as_json=as_json)
            await signals.stop.wait()
    return CLEAN


@contextlib.asynccontextmanager
async def _started(settings: ControlPlaneSettings) -> Any:
    from pyconnector.control.settings import SettingsError as ControlSettingsError
    from pyconnector.control.thread import ControlPlaneThread

    running = ControlPlaneThread(settings)
    try:
        await running.start()
    except ControlSettingsError as error:
        _save_first_token(running.plane)
        raise StartFailed(str(error)) from error
    try:
        yield running.plane
    finally:
        await running.stop()


def _save_first_token(plane: ControlPlane) -> None:
    """Show the token although there is no mesh: the data directory has it now, and it is never shown again."""
    made = getattr(plane, "installation", None)  # not there where it failed before
    if made is not None and made.first_token is not None:
        click.echo(f"API token: {made.first_token}   (shown this once)", err=True)


def _told(plane: ControlPlane) -> dict[str, Any]:
    made = plane.installation
    return {
        "api_url": plane.api_url,
        "api_token": made.first_token,
        "account_id": made.account_id,
        "zone_id": made.zone_id,
        "zone_name": made.zone_name,
        "cert_pem": str(plane.cert_pem),
        "quick_tunnels": plane.settings.quick_limit,
        "dns": None if plane.dns_address is None else host_port_text(plane.dns_address),
    }


def _say(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"page:       {told['api_url'].removesuffix('/client/v4')}/ui")
    click.echo(f"API:        {told['api_url']}")
    if told["api_token"] is not None:
        click.echo(f"API token:  {told['api_token']}   (shown this once)")
    click.echo(f"cert.pem:   {told['cert_pem']}")
    click.echo(f"zone:       {told['zone_name']}")
    if told["dns"]:
        click.echo(f"discovery:  --edge-discovery dns://{told['dns']}")
    if told["quick_tunnels"]:
        url = told["api_url"].removesuffix("/client/v4")
        click.echo(f"try it:     pyconnector tunnel --quick-service {url} --url http://localhost:8000")
    if "edge" in told:
        click.echo(f"connectors: --edge {told['edge'][0]} --cacert {shlex.quote(told['ca'])}")
        click.echo(f"visitors:   {told['visitors_url']}/")
    else:
        click.echo(f"edges:      --control {told['api_url'].removesuffix('/client/v4')}"
                   f" --control-token-file {shlex.quote(told['edge_token_file'])}")  # fmt: skip


def _control_settings(given: Mapping[str, Any]) -> ControlPlaneSettings:
    try:
        from pyconnector.control.settings import ControlPlaneSettings
        from pyconnector.control.settings import SettingsError as ControlSettingsError
    except ImportError as error:
        message = f"the control plane needs more packages ({error.name}): pip install 'pyconnector[mesh]'"
        raise ConfigError([Problem(message=message)]) from error
    try:
        return ControlPlaneSettings(
            data_directory=_data_directory(given), address=parse_address(given["api"], "--api"),
            database=given["database"], zone=given["zone"], quick_tunnels=given["quick_tunnels"],
            hostnames=given["api_hostnames"],
            mesh_addresses=given["mesh_addresses"], name_addresses=given["name_addresses"],
            dns_address=parse_address(given["dns"], "--dns") if given["dns"] else None,
        )  # fmt: skip
    except (ControlSettingsError, SettingsError) as error:
        raise ConfigError([Problem(message=str(error))]) from error


def _edge_settings(given: Mapping[str, Any], url: str, token: str) -> EdgeSettings:
    data = _data_directory(given)
    address = parse_address(given["edge"], "--edge")
    join = JoinSettings(
        listen=parse_address(given["peers"], "--peers") if given["peers"] else (address[0], 0),
        advertise=given["advertise"],
    )
    private = private_file(given["private_network"])
    return EdgeSettings(
        address=address,
        gateway=private.gateway if private else None,
        visitors=VisitorSettings(
            address=parse_address(given["visitors"], "--visitors"),
            tls_address=parse_address(given["visitors_tls"], "--visitors-tls") if given["visitors_tls"] else None,
            certificates=certificate_pairs(given["visitors_tls"], given["tls_certs"], given["tls_keys"]),
            trusted_proxies=proxy_networks(given["trusted_proxies"]),
        ),
        control=None,
        audit=_audit_settings(given, data),
        login_pins=login_settings(given["login_pins"]),
        ca_directory=data,
        location=given["location"],
        quic=QuicSettings(engine=given["quic_engine"]),
        directory=DirectorySettings(
            url=url, token=token, cache=data / SNAPSHOT_FILE, name=given["location"], join=join
        ),
    )


def _audit_settings(given: Mapping[str, Any], data: Path) -> AuditSettings | None:
    directory = "" if given["no_audit"] else given["audit_dir"] or str(data / "audit")
    return audit_settings(audit_flags(given, audit_dir=directory))


def _data_directory(given: Mapping[str, Any]) -> Path:
    return Path(given["data_dir"]).expanduser().absolute()
