"""The command `tunnel diag` and its arguments."""

from __future__ import annotations

from typing import Any

import click

from pyconnector.connector.cli.exits import exit_with
from pyconnector.connector.cli.options import FlagCommand, inherit, overrides_of

#: The reference's name: scripts that start it through a link look for an archive of that name.
_REFERENCE = "cloudflared"
_CONFIG = click.option("--config", "config_path", metavar="FILE", type=click.Path(), help="The config file.")


@click.command("diag", cls=FlagCommand, short_help="Put all that is known of a running connector into one archive.")
@_CONFIG
@click.option("--diag-container-id", metavar="ID", help="Ask docker for the log of this container.")
@click.option("--diag-pod-id", metavar="POD", help="Ask kubectl for the log of this pod.")
@click.option("--no-diag-logs", is_flag=True, help="Leave the log out.")
@click.option("--no-diag-metrics", is_flag=True, help="Leave the metrics out.")
@click.option("--no-diag-system", is_flag=True, help="Leave the machine out.")
@click.option("--no-diag-runtime", is_flag=True, help="Leave the tasks out.")
@click.option("--no-diag-network", is_flag=True, help="Leave the ways to the edge out.")
@click.pass_context
def diag_command(context: click.Context, /, config_path: str | None, **given: Any) -> None:
    """Write a zip archive of everything that a running connector says of itself, for whoever looks for a fault.

    It is looked for at the ports of 127.0.0.1 that connectors take by themselves, or asked at --metrics.
    """
    from pyconnector.connector.cli.diagnose.diag import diag

    flags = overrides_of(inherit(context, given))
    exit_with(lambda: diag(given, flags.get("metrics"), _program(context)))


def _program(context: click.Context) -> str:
    return _REFERENCE if context.find_root().info_name == _REFERENCE else "pyconnector"
