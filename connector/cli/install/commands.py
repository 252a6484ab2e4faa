"""The commands `service install` and `service uninstall` and their arguments."""

from __future__ import annotations

import click

from pyconnector.connector.cli.exits import exit_with

_CONFIG = click.option("--config", "config_path", metavar="FILE", type=click.Path(), help="The config file.")


@click.group("service")
def service_group() -> None:
    """Let this machine start a connector by itself."""


@service_group.command("install", short_help="Install and start a service.")
@click.argument("token", required=False, envvar="TUNNEL_TOKEN")
@_CONFIG
@click.option("--no-update-service", is_flag=True, hidden=True)
@click.pass_context
def install_command(
    context: click.Context, token: str | None, config_path: str | None, no_update_service: bool
) -> None:
    """Install and start a service that runs the tunnel of TOKEN, or of a config file.

    Others can read a command line: prefer TUNNEL_TOKEN in the environment. The token is kept in a file for root alone.
    """
    from pyconnector.connector.cli.install.install import install

    exit_with(lambda: install(token, config_path or context.find_root().obj))


@service_group.command("uninstall")
def uninstall_command() -> None:
    """Stop the service and remove it; a config file stays."""
    from pyconnector.connector.cli.install.install import uninstall

    exit_with(uninstall)
