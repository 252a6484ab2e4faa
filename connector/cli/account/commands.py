"""The commands and their arguments, named as in the reference. What each does is in `tunnels` and `networks`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pyconnector.connector.cli.account.errors import CommandFailed, WrongUsage
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


def _options(*options: Any) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_WORDS = click.argument("words", nargs=-1)
_ACCOUNT = _options(
    click.option("--origincert", default="", envvar="TUNNEL_ORIGIN_CERT", metavar="FILE", help="cert.pem."),
    click.option("--api-url", default="", envvar="TUNNEL_API_URL", metavar="URL", help="Of the API."),
)
_FORM = click.option("--output", "-o", "form", default="", metavar="FORMAT", help="json or yaml.")
_VNET = click.option("--vnet", "--vn", "vnet", metavar="NAME", help="A virtual network, by name or id.")


def _command(group: click.Group, name: str, *options: Any) -> Callable[[Callable[..., None]], click.Command]:
    def add(function: Callable[..., None]) -> click.Command:
        decorated: Callable[..., None] = _options(*options, _ACCOUNT, _WORDS, click.pass_context)(function)
        return group.command(name, cls=AccountCommand)(decorated)

    return add


class Account:
    """The API's client for what the flags and the environment say; made when it is first needed."""

    def __init__(self, context: click.Context, given: dict[str, Any]) -> None:
        from pyconnector.connector.cli.account.client import BASE_URL, FED_URL, ApiClient
        from pyconnector.connector.cli.account.origin_cert import find_origin_cert

        outer = inherit(context, {})
        cert = find_origin_cert(given["origincert"] or outer.get("origincert") or os.environ.get("TUNNEL_ORIGIN_CERT"))
        base = given["api_url"] or outer.get("api_url") or (FED_URL if cert.endpoint == "fed" else BASE_URL)
        self.directory: Path = cert.path.parent
        self.client = ApiClient(
            base_url=str(base), token=cert.api_token, account_id=cert.account_id, zone_id=cert.zone_id
        )


def _help(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


tunnel_commands = click.Group("account commands")


@_command(
    tunnel_commands, "create", _FORM,
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


@_command(
    tunnel_commands, "list", _FORM,
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


@_command(tunnel_commands, "info", _FORM)
def info_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Show who is connected to a tunnel."""
    if len(words) != 1:
        raise WrongUsage(
            "tunnel info",
            '"pyconnector tunnel info" accepts exactly one argument, the ID or name of the tunnel to get info about.',
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.info(Account(context, given).client, words[0], form=given["form"])


@_command(
    tunnel_commands, "delete",
    click.option("--credentials-file", "--cred-file", "path", envvar="TUNNEL_CRED_FILE", metavar="FILE"),
    click.option("--force", "-f", is_flag=True, envvar="TUNNEL_RUN_FORCE_OVERWRITE",
                 help="Close its connections and delete its routes first."),
)  # fmt: skip
def delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete tunnels."""
    if not words:
        raise WrongUsage(
            "tunnel delete",
            '"pyconnector tunnel delete" requires at least 1 argument, the ID or name of the tunnel to delete.',
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.delete(Account(context, given).client, list(words), force=given["force"], credentials=given["path"])


@_command(
    tunnel_commands, "cleanup",
    click.option("--connector-id", "-c", envvar="TUNNEL_CLEANUP_CONNECTOR", metavar="ID"),
)  # fmt: skip
def cleanup_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Close the connections of tunnels; connectors that still run connect again."""
    if not words:
        raise WrongUsage(
            "tunnel cleanup",
            '"pyconnector tunnel cleanup" requires at least 1 argument, the IDs of the tunnels to cleanup connections.',
        )
    from pyconnector.connector.cli.account import tunnels

    tunnels.clean_up(Account(context, given).client, list(words), connector_id=given["connector_id"])


@_command(
    tunnel_commands, "token",
    click.option("--credentials-file", "--cred-file", "path", envvar="TUNNEL_CRED_FILE", metavar="FILE"),
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

    tunnels.token(Account(context, given).client, words[0], path=given["path"])


@tunnel_commands.group("route", invoke_without_command=True)
@click.pass_context
def route_group(context: click.Context) -> None:
    """Say which names and networks lead to a tunnel."""
    _help(context)


@_command(route_group, "dns", click.option("--overwrite-dns", "-f", "overwrite", is_flag=True))
def route_dns_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Lead a hostname to a tunnel: TUNNEL HOSTNAME."""
    if len(words) != 2:
        raise WrongUsage(
            "route dns",
            'This command expects the format "pyconnector tunnel route dns <tunnel name/id> <hostname>"',
        )
    from pyconnector.connector.cli.account import networks

    networks.route_dns(Account(context, given).client, *words, overwrite=given["overwrite"])


@route_group.group("ip", invoke_without_command=True)
@click.pass_context
def route_ip_group(context: click.Context) -> None:
    """Networks that lead to a tunnel."""
    _help(context)


@_command(route_ip_group, "add", _VNET)
def route_ip_add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Lead a network to a tunnel: CIDR TUNNEL [COMMENT]."""
    if len(words) < 2:
        raise CommandFailed(
            "You must supply at least 2 arguments, first the network you wish to route (in CIDR form e.g. 1.2.3.4/32)"
            " and then the tunnel ID to proxy with"
        )
    from pyconnector.connector.cli.account import networks

    comment = words[2] if len(words) > 2 else ""
    networks.add_route(Account(context, given).client, words[0], words[1], comment, given["vnet"])


@_command(
    route_ip_group, "show", _FORM,
    click.option("--filter-is-deleted", is_flag=True),
    click.option("--filter-tunnel-id", metavar="ID"),
    click.option("--filter-network-is-subset-of", "--nsub", "subset", metavar="CIDR"),
    click.option("--filter-network-is-superset-of", "--nsup", "superset", metavar="CIDR"),
    click.option("--filter-comment-is", metavar="TEXT"),
    click.option("--filter-vnet-id", metavar="ID"),
)  # fmt: skip
def route_ip_show_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """List networks that lead to tunnels."""
    from pyconnector.connector.cli.account import networks

    networks.show_routes(
        Account(context, given).client, given["form"], is_deleted=str(given["filter_is_deleted"]).lower(),
        tunnel_id=given["filter_tunnel_id"], network_subset=given["subset"], network_superset=given["superset"],
        comment=given["filter_comment_is"], virtual_network_id=given["filter_vnet_id"],
    )  # fmt: skip


@_command(route_ip_group, "delete", _VNET)
def route_ip_delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a route: its id or its network."""
    if len(words) != 1:
        raise CommandFailed("You must supply exactly one argument, the ID or CIDR of the route you want to delete")
    from pyconnector.connector.cli.account import networks

    networks.delete_route(Account(context, given).client, words[0], given["vnet"])


@_command(route_ip_group, "get", _VNET)
def route_ip_get_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Show the route that an address takes."""
    if len(words) != 1:
        raise CommandFailed(
            "You must supply exactly one argument, an IP whose route will be queried (e.g. 1.2.3.4 or 2001:0db8:::7334)"
        )
    from pyconnector.connector.cli.account import networks

    networks.route_of(Account(context, given).client, words[0], given["vnet"])


route_ip_group.add_command(route_ip_show_command, "list")


@tunnel_commands.group("vnet", invoke_without_command=True)
@click.pass_context
def vnet_group(context: click.Context) -> None:
    """Virtual networks, each with addresses of its own."""
    _help(context)


@_command(vnet_group, "add", click.option("--default", "-d", "is_default", is_flag=True))
def vnet_add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Make a virtual network: NAME [COMMENT]."""
    if not words:
        raise CommandFailed("You must supply at least 1 argument, the name of the virtual network you wish to add.")
    from pyconnector.connector.cli.account import networks

    comment = words[1] if len(words) > 1 else ""
    networks.add_network(Account(context, given).client, words[0], comment, is_default=given["is_default"])


@_command(
    vnet_group, "list", _FORM,
    click.option("--id", metavar="ID"),
    click.option("--name", metavar="NAME"),
    click.option("--is-default", is_flag=True),
    click.option("--show-deleted", is_flag=True),
)  # fmt: skip
def vnet_list_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """List virtual networks."""
    from pyconnector.connector.cli.account import networks

    networks.list_networks(
        Account(context, given).client, given["form"], id=given["id"], name=given["name"],
        is_default="true" if given["is_default"] else None, is_deleted=str(given["show_deleted"]).lower(),
    )  # fmt: skip


@_command(vnet_group, "delete", click.option("--force", "-f", is_flag=True, help="Delete its routes too."))
def vnet_delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a virtual network."""
    if len(words) != 1:
        raise CommandFailed(
            "You must supply exactly one argument, either the ID or name of the virtual network to delete"
        )
    from pyconnector.connector.cli.account import networks

    networks.delete_network(Account(context, given).client, words[0], force=given["force"])


@_command(
    vnet_group, "update",
    click.option("--name", "-n", metavar="NAME"),
    click.option("--comment", "-c", metavar="TEXT"),
    click.option("--default", "-d", "is_default", is_flag=True, default=None),
)  # fmt: skip
def vnet_update_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Change a virtual network."""
    if len(words) != 1:
        raise CommandFailed(
            " You must supply exactly one argument, either the ID or (current) name of the virtual network to update"
        )
    from pyconnector.connector.cli.account import networks

    wanted = {"name": given["name"], "comment": given["comment"], "is_default_network": given["is_default"]}
    changes = {name: value for name, value in wanted.items() if value is not None}
    networks.update_network(Account(context, given).client, words[0], changes)
