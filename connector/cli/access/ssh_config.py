"""`pyconnector access ssh-config`: the lines that make ssh use the tunnel."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from pyconnector.agent.access.place import parse_place
from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.config import Problem


def show_ssh_config(hostname: str, *, short_lived_cert: bool) -> int:
    """Print the lines; return the exit code.

    Raises:
        ConfigError: the hostname is none, or certificates are asked for.
    """
    if short_lived_cert:
        raise ConfigError([Problem(message="--short-lived-cert: no edge of ours issues SSH certificates; use keys")])
    try:
        host = parse_place(hostname).host if hostname else "[your hostname]"
    except ValueError as error:
        raise ConfigError([Problem(message=f"--hostname: {error}")]) from error
    click.echo("Add to your ~/.ssh/config:", err=True)  # so that what is printed can be appended to it
    click.echo(f"Host {host}\n  ProxyCommand {_command()} access ssh --hostname %h")
    return CLEAN


def _command() -> str:
    beside = Path(sys.executable).with_name("pyconnector")
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m pyconnector"
