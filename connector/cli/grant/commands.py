"""`pyconnector grant` and its arguments; what it does is in `granting`."""

from __future__ import annotations

from typing import Any

import click

from pyconnector.connector.cli.account.command import Account, command
from pyconnector.connector.cli.account.errors import WrongUsage

_group = click.Group("grant")


@command(
    _group, "grant",
    click.option("--to", metavar="TOKEN", help="The service token that may read it, by name or id."),
    click.option("--for", "seconds", default="30m", metavar="DURATION", show_default=True, help="For how long."),
    click.option("--config", "config_path", metavar="FILE", type=click.Path(), help="Whose rules serve the files."),
    click.option("--api-token-file", "token_file", envvar="PYCONNECTOR_API_TOKEN_FILE", metavar="FILE",
                 help="An API token with the scope access:edit, which that of cert.pem lacks."),
    click.option("--list", "-l", "as_list", is_flag=True, help="List the grants there are."),
    click.option("--revoke", metavar="ID", help="End a grant, and downloads that run under it."),
)  # fmt: skip
def grant_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Let a service token read one path for a while.

    WHAT is files:/FILE of a config's rules, or https://HOST/PATH. Prints the URL and a token to show there. Every read
    is a record of the edge; the end of the grant, or of the service token, cuts off what still runs.
    """
    from pyconnector.connector.cli.grant import granting

    wanted = [given["as_list"], bool(given["revoke"]), bool(given["to"])]
    if sum(wanted) != 1 or len(words) != bool(given["to"]):
        raise WrongUsage("grant", "give WHAT --to TOKEN, --list, or --revoke ID.")
    what = (0, "", "")
    if given["to"]:
        what = (
            granting.seconds_of(given["seconds"]),
            *granting.place_of(words[0], given["config_path"] or context.obj),
        )
    client = granting.client_of(Account(context, given).client, given["token_file"])
    if given["to"]:
        granting.grant(client, given["to"], *what, form=given["form"])
    elif given["as_list"]:
        granting.show(client, form=given["form"])
    else:
        granting.revoke(client, given["revoke"], form=given["form"])
