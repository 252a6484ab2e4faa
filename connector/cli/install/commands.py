"""The commands `service install` and `service uninstall` and their arguments."""

from __future__ import annotations

from typing import TextIO

import click

from pyconnector.connector.cli.exits import exit_with
from pyconnector.connector.config.credentials import MAX_FILE_BYTES

_CONFIG = click.option("--config", "config_path", metavar="FILE", type=click.Path(), help="The config file.")


@click.group("service")
def service_group() -> None:
    """Let this machine start a connector by itself."""


@service_group.command("install", short_help="Install and start a service.")
@click.argument("token", required=False, envvar="TUNNEL_TOKEN")
@_CONFIG
@click.option("--token-file", metavar="FILE", type=click.File(), help="Holds the token; - for standard input.")
@click.option("--no-update-service", is_flag=True, hidden=True)
@click.pass_context
def install_command(
    context: click.Context,
    token: str | None,
    config_path: str | None,
    token_file: TextIO | None,
    no_update_service: bool,
) -> None:
    """Install and start a service that runs the tunnel of TOKEN, or of a config file.

    Others can read a command line: prefer --token-file or TUNNEL_TOKEN in the environment. The token is kept in a file
    for root alone.
    """
    from pyconnector.connector.cli.install.install import install

    if token_file is not None:
        token = token_file.read(MAX_FILE_BYTES).strip()
    exit_with(lambda: install(token, config_path or context.find_root().obj))


@service_group.command("uninstall")
def uninstall_command() -> None:
    """Stop the service and remove it; a config file stays."""
    from pyconnector.connector.cli.install.install import uninstall

    exit_with(uninstall)
