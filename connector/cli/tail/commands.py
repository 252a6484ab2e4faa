"""`tail`, `tail token` and `management token`, with the arguments of the reference (reference/cli.md 6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from pyconnector.connector.cli.account.command import Account
from pyconnector.connector.cli.account.errors import CommandFailed, WrongUsage
from pyconnector.connector.cli.exits import exit_with
from pyconnector.identity.management_token import (
    FED_HOSTNAME,
    FED_ISSUER,
    HOSTNAME,
    NoManagementToken,
    read_claims,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = ("cloudflared", "http", "tcp", "udp")
LEVELS = ("debug", "info", "warn", "error")
RESOURCES = ("logs", "admin", "host_details")


def _account(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--api-url", default="", envvar="TUNNEL_API_URL", metavar="URL", help="Of the API."),
        click.option("--origincert", default="", envvar="TUNNEL_ORIGIN_CERT", metavar="FILE", help="cert.pem."),
    ):
        function = option(function)
    return function


class _Tail(click.Group):
    """`tail TUNNEL`, and `tail token TUNNEL`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`. What is no command is a tunnel."""
        if args and args[0] not in self.commands:
            return "of", self.commands["of"], args
        return super().resolve_command(ctx, args)


@click.group(
    "tail",
    cls=_Tail,
    invoke_without_command=True,
    subcommand_metavar="TUNNEL",
    short_help="Show the log of a connector elsewhere.",
    context_settings={"allow_interspersed_args": True},  # options may stand behind the tunnel
)
@click.option("--connector-id", default="", envvar="TUNNEL_MANAGEMENT_CONNECTOR", metavar="ID", help="One of several.")
@click.option("--event", "events", multiple=True, envvar="TUNNEL_MANAGEMENT_FILTER_EVENTS", metavar="NAME",
              help=f"{', '.join(EVENTS)}. Repeatable. [default: all]")  # fmt: skip
@click.option("--level", default="debug", envvar="TUNNEL_MANAGEMENT_FILTER_LEVEL", metavar="LEVEL",
              help=f"{', '.join(LEVELS)}. [default: debug]")  # fmt: skip
@click.option("--sample", default=1.0, envvar="TUNNEL_MANAGEMENT_FILTER_SAMPLE", metavar="SHARE",
              help="Of the lines, above 0 and up to 1. [default: 1]")  # fmt: skip
@click.option("--token", default="", envvar="TUNNEL_MANAGEMENT_TOKEN", metavar="TOKEN",
              help="In place of asking for one. Others can read a command line: prefer the environment.")  # fmt: skip
@click.option("--edge-url", default="", envvar="PYCONNECTOR_EDGE_URL", metavar="URL",
              help="Where an edge of your own serves visitors. [default: the provider's]")  # fmt: skip
@click.option("--cacert", default="", metavar="FILE", help="PEM file of the authorities of that edge.")
@click.option("--management-hostname", default=HOSTNAME, envvar="TUNNEL_MANAGEMENT_HOSTNAME", hidden=True)
@click.option("--trace", default="", hidden=True)
@click.option("--loglevel", default="info", envvar="TUNNEL_LOGLEVEL", hidden=True)
@click.option("--output", default="default", envvar="TUNNEL_MANAGEMENT_OUTPUT", metavar="FORMAT",
              help="default or json.")  # fmt: skip
@_account
@click.pass_context
def tail_command(context: click.Context, /, **given: Any) -> None:
    """Show the log of a connector of TUNNEL (its UUID) until Ctrl-C, as it is written."""
    context.obj = given
    if context.invoked_subcommand is None:
        exit_with(lambda: _run(context, "", given))


class _OfContext(click.Context):
    """The command has no name: it is what `tail` does with a tunnel."""

    @property
    def command_path(self) -> str:
        """See `click.Context`."""
        return self.parent.command_path if self.parent is not None else super().command_path


class _Of(click.Command):
    context_class = _OfContext


@tail_command.command("of", cls=_Of, hidden=True)
@click.argument("tunnel")
@click.pass_context
def tail_of_command(context: click.Context, /, tunnel: str) -> None:
    """What `tail TUNNEL` runs."""
    exit_with(lambda: _run(context, tunnel, context.obj))


@tail_command.command("token", hidden=True)
@click.argument("tunnel")
@click.pass_context
def tail_token_command(context: click.Context, /, tunnel: str) -> None:
    """Print a token to read the log of TUNNEL."""
    exit_with(lambda: _print_token(context, tunnel, "logs", context.obj))


@click.group("management", hidden=True)
def management_group() -> None:
    """Tokens for the management service of connectors."""


@management_group.command("token")
@click.option("--resource", required=True, metavar="NAME", help=f"{', '.join(RESOURCES)}.")
@click.argument("tunnel")
@_account
@click.pass_context
def management_token_command(context: click.Context, /, resource: str, tunnel: str, **given: Any) -> None:
    """Print a token to manage the connectors of TUNNEL."""
    if resource not in RESOURCES:
        raise click.UsageError(f"--resource is one of {', '.join(RESOURCES)}")
    exit_with(lambda: _print_token(context, tunnel, resource, given))


def _run(context: click.Context, tunnel: str, given: dict[str, Any]) -> int:
    from pyconnector.connector.cli.tail.client import TailFailed, Wanted
    from pyconnector.connector.cli.tail.tail import tail

    events = tuple(part for each in given["events"] for part in each.split(","))
    if given["level"] not in LEVELS:
        raise click.UsageError(f"--level is one of {', '.join(LEVELS)}")
    if not set(events) <= set(EVENTS):
        raise click.UsageError(f"--event is one of {', '.join(EVENTS)}")
    if not 0 < given["sample"] <= 1:
        raise click.UsageError("--sample is a share above 0 and up to 1")
    if given["output"] not in ("", "default", "json"):
        raise click.UsageError("--output is default or json")
    connector_id = given["connector_id"] and _uuid(given["connector_id"], "--connector-id")
    token = given["token"] or _token(context, tunnel, "logs", given)
    hostname = given["management_hostname"]
    try:
        if read_claims(token).issuer == FED_ISSUER:
            hostname = FED_HOSTNAME
    except NoManagementToken as error:
        raise CommandFailed(f"the token cannot be used: {error}") from None
    url = given["edge_url"] or f"https://{hostname}"
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("--edge-url is http://HOST[:PORT] or https://HOST[:PORT]")
    wanted = Wanted(
        url=url, hostname=hostname, token=token, connector_id=connector_id, level=given["level"], events=events,
        share=given["sample"], trace=given["trace"], ca_file=given["cacert"] or None,
    )  # fmt: skip
    try:
        return tail(wanted, as_json=given["output"] == "json")
    except TailFailed as error:
        raise CommandFailed(f"cannot show the log: {error}") from None


def _print_token(context: click.Context, tunnel: str, resource: str, given: dict[str, Any]) -> int:
    click.echo(json.dumps({"token": _token(context, tunnel, resource, given)}, separators=(",", ":")))
    return 0


def _token(context: click.Context, tunnel: str, resource: str, given: dict[str, Any]) -> str:
    from pyconnector.connector.cli.account.client import ApiError  # only where one is asked for

    if not tunnel:
        raise WrongUsage("tail", "give the UUID of a tunnel, or a token with --token")
    client = Account(context, given).client
    tunnel_id = _uuid(tunnel, "TUNNEL")
    try:
        return str(
            client.call("get tunnel token", "POST", client.account(f"cfd_tunnel/{tunnel_id}/management/{resource}"))
        )
    except ApiError as error:
        raise CommandFailed(f"no management token for the tunnel {tunnel_id}: {error}") from None


def _uuid(text: str, name: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise click.UsageError(f"{name} is no UUID") from None
