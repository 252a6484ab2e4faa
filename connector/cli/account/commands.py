"""`tunnel create`, `list`, `info`, `delete`, `cleanup`, `token` and `login`; what each does is in other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyconnector.connector.cli.account.command import Account, command
from pyconnector.connector.cli.account.completion import NOTHING, TUNNELS
from pyconnector.connector.cli.account.errors import WrongUsage
from pyconnector.connector.cli.account.network_commands import route_group, vnet_group
from pyconnector.connector.cli.account.rule_commands import rule_group
from pyconnector.connector.cli.streams import has_screen

tunnel_commands = click.Group("account commands")


@command(
    tunnel_commands, "create",
    click.option("--credentials-file", "--cred-file", "path", envvar="TUNNEL_CRED_FILE", metavar="FILE"),
    click.option("--secret", "-s", envvar="TUNNEL_CREATE_SECRET", metavar="BASE64"),
    click.option("--route", metavar="HOSTNAME", help="Lead that name to it, and write a config; with --service."),
    click.option("--service", metavar="URL", help="What the config serves under that name."),
)  # fmt: skip
def create_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Make a tunnel, and a credentials file beside cert.pem."""
    if len(words) != 1:
        raise WrongUsage(
            "tunnel create",
            '"pyconnector tunnel create" requires exactly 1 argument, the name of tunnel to create.',
        )
    if bool(given["route"]) != bool(given["service"]) or (given["route"] and given["form"]):
        raise WrongUsage("tunnel create", "--route and --service go together, and without --output.")
    from pyconnector.connector.cli.account import tunnels

    rules = None
    if given["route"]:
        from pyconnector.connector.cli.account import ready_config

        rules = ready_config.rules_for(given["route"], given["service"])
    account = Account(context, given)
    tunnel_id, credentials = tunnels.create(
        account.client, account.directory, words[0], form=given["form"], path=given["path"], secret=given["secret"]
    )
    if rules is not None:
        ready_config.finish(account.client, tunnel_id, credentials, rules)


@command(
    tunnel_commands, "list",
    click.option("--show-deleted", "-d", is_flag=True),
    click.option("--name", "-n", metavar="NAME"),
    click.option("--name-prefix", "--np", "name_prefix", metavar="PREFIX"),
    click.option("--exclude-name-prefix", "--enp", "exclude_prefix", metavar="PREFIX"),
    click.option("--when", "-w", metavar="TIME", hidden=True),
    click.option("--id", "-i", metavar="ID"),
    click.option("--show-recently-disconnected", "--rd", "recently_disconnected", is_flag=True),
    click.option("--sort-by", default="name", envvar="TUNNEL_LIST_SORT_BY", metavar="FIELD"),
    click.option("--invert-sort", is_flag=True, envvar="TUNNEL_LIST_INVERT_SORT"),
)  # fmt: skip
def list_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """List tunnels and where they are connected."""
    from pyconnector.connector.cli.account import tunnels

    account = Account(context, given)
    fields = {name: value for name, value in given.items() if name not in ("origincert", "api_url", "when")}
    tunnels.list_tunnels(account.client, tunnels.ListWish(**fields))


@command(tunnel_commands, "info", words=(TUNNELS, NOTHING))
def info_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Show who is connected to a tunnel."""
    if len(words) != 1:
        raise WrongUsage(
            "tunnel info",
            '"pyconnector tunnel info" accepts exactly one argument, the ID or name of the tunnel to get info about.',
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.info(Account(context, given).client, words[0], form=given["form"])


@command(
    tunnel_commands, "delete",
    click.option("--credentials-file", "--cred-file", "path", envvar="TUNNEL_CRED_FILE", metavar="FILE"),
    click.option("--force", "-f", is_flag=True, envvar="TUNNEL_RUN_FORCE_OVERWRITE",
                 help="Close its connections and delete its routes first."),
    words=(TUNNELS,),
)  # fmt: skip
def delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete tunnels."""
    if not words:
        raise WrongUsage(
            "tunnel delete",
            '"pyconnector tunnel delete" requires at least 1 argument, the ID or name of the tunnel to delete.',
        )
    from pyconnector.connector.cli.account import tunnels

    account = Account(context, given)
    tunnels.delete(
        account.client,
        list(words),
        force=given["force"],
        credentials=given["path"],
        beside=account.directory,
        form=given["form"],
    )


@command(
    tunnel_commands, "cleanup",
    click.option("--connector-id", "-c", envvar="TUNNEL_CLEANUP_CONNECTOR", metavar="ID"),
    words=(TUNNELS,),
)  # fmt: skip
def cleanup_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Close the connections of tunnels.

    Connectors that still run connect again.
    """
    if not words:
        raise WrongUsage(
            "tunnel cleanup",
            '"pyconnector tunnel cleanup" requires at least 1 argument, the IDs of the tunnels to cleanup connections.',
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.clean_up(
        Account(context, given).client, list(words), connector_id=given["connector_id"], form=given["form"]
    )


@command(
    tunnel_commands, "token",
    click.option("--credentials-file", "--cred-file", "path", envvar="TUNNEL_CRED_FILE", metavar="FILE"),
    words=(TUNNELS, NOTHING),
)  # fmt: skip
def token_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Print what a connector of a tunnel is started with."""
    if len(words) != 1:
        raise WrongUsage(
            "tunnel token",
            '"pyconnector tunnel token" requires exactly 1 argument, the name or UUID of tunnel to fetch the'
            " credentials token for.",
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.token(Account(context, given).client, words[0], path=given["path"], form=given["form"])


@command(
    tunnel_commands, "login",
    click.option("--control", envvar="PYCONNECTOR_CONTROL", metavar="URL", help="Address of a control plane."),
    click.option("--loginURL", "login_url", metavar="URL", help="The page to sign in at."),
    click.option("--callbackURL", "callback_url", metavar="URL", help="The store that it leaves the certificate in."),
    click.option("--fedramp", "-f", is_flag=True, help="The provider's second realm."),
    click.option("--no-browser", is_flag=True, help="Only print the address to open."),
    has_form=False,
)  # fmt: skip
def login_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Fetch cert.pem, which proves an account.

    Somebody has to sign in for it.
    """
    if words or (given["control"] and (given["login_url"] or given["callback_url"] or given["fedramp"])):
        raise WrongUsage("tunnel login", "`tunnel login` takes no arguments, and --control alone.")
    from pyconnector.connector.cli.account import login

    places = login.PROVIDER_FED if given["fedramp"] else login.PROVIDER
    if given["control"]:
        places = login.places_of_control(given["control"])
    else:
        places = login.changed(places, given["login_url"], given["callback_url"])
    target = Path(given["origincert"]).expanduser() if given["origincert"] else login.default_target()
    login.login(places, target, browse=click.launch if has_screen() and not given["no_browser"] else None)


tunnel_commands.add_command(route_group)
tunnel_commands.add_command(rule_group)
tunnel_commands.add_command(vnet_group)
