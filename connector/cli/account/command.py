"""What all commands of an account share: their options, where the API is, and what a shell completes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pyconnector.connector.cli.account import completion
from pyconnector.connector.cli.options import inherit


class AccountCommand(click.Command):
    """A command whose long options may have one dash, as the reference's may, and that checks its arguments itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        names = {option for param in self.params for option in param.opts if option.startswith("--")}
        rest = []
        for index, argument in enumerate(args):
            if argument == "--":
                rest += args[index:]
                break
            long = argument.startswith("-") and "-" + argument.partition("=")[0] in names
            rest.append("-" + argument if long else argument)
        return super().parse_args(ctx, rest)


def _options(*given: Any) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(given):
            function = option(function)
        return function

    return add


_ACCOUNT = _options(
    click.option("--origincert", default="", envvar="TUNNEL_ORIGIN_CERT", metavar="FILE", help="cert.pem."),
    click.option("--api-url", default="", envvar="TUNNEL_API_URL", metavar="URL", help="Of the API."),
)
FORM = click.option("--output", "-o", "form", default="", metavar="FORMAT", help="json or yaml.")
VNET = click.option(
    "--vnet", "--vn", "vnet", metavar="NAME", help="A virtual network, by name or id.",
    shell_complete=completion.offering(completion.NETWORKS),
)  # fmt: skip


def command(
    group: click.Group, name: str, *options: Any, words: tuple[str, ...] = (), has_form: bool = True
) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes a function a command of `group`.

    `words` are the kinds of `completion` that its arguments are of, in their order; the last one goes on.
    """
    form = (FORM,) if has_form else ()
    argument = click.argument("words", nargs=-1, shell_complete=completion.offering(*words))

    def add(function: Callable[..., None]) -> click.Command:
        decorated: Callable[..., None] = _options(*options, *form, _ACCOUNT, argument, click.pass_context)(function)
        return group.command(name, cls=AccountCommand)(decorated)

    return add


class Account:
    """The API's client for what the flags and the environment say; made when it is first needed."""

    def __init__(self, context: click.Context, given: dict[str, Any], *, timeout: float | None = None) -> None:
        from pyconnector.connector.cli.account.client import BASE_URL, FED_URL, TIMEOUT, ApiClient
        from pyconnector.connector.cli.account.origin_cert import find_origin_cert

        outer = inherit(context, {})
        cert = find_origin_cert(given["origincert"] or outer.get("origincert") or os.environ.get("TUNNEL_ORIGIN_CERT"))
        base = given["api_url"] or outer.get("api_url") or os.environ.get("TUNNEL_API_URL") or cert.api_url
        base = base or (FED_URL if cert.endpoint == "fed" else BASE_URL)
        self.directory: Path = cert.path.parent
        self.client = ApiClient(
            base_url=str(base), token=cert.api_token, account_id=cert.account_id, zone_id=cert.zone_id,
            timeout=timeout or TIMEOUT,
        )  # fmt: skip


def show_help(context: click.Context) -> None:
    """Print a group's help where no command of it was given."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
