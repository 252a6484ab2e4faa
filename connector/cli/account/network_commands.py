"""`tunnel route dns|lb|ip ...` and `tunnel vnet ...`; what each does is in `names` and `networks`."""

from __future__ import annotations

from typing import Any

import click

from pyconnector.connector.cli.account.command import VNET, Account, command, show_help
from pyconnector.connector.cli.account.completion import HOSTNAMES, NETWORKS, NOTHING, ROUTES, TUNNELS
from pyconnector.connector.cli.account.errors import CommandFailed, WrongUsage


@click.group("route", invoke_without_command=True)
@click.pass_context
def route_group(context: click.Context) -> None:
    """Say which names and networks lead to a tunnel."""
    show_help(context)


@command(
    route_group, "dns", click.option("--overwrite-dns", "-f", "overwrite", is_flag=True),
    words=(TUNNELS, HOSTNAMES, NOTHING),
)  # fmt: skip
def route_dns_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Lead a hostname to a tunnel: TUNNEL HOSTNAME."""
    if len(words) != 2:
        raise WrongUsage(
            "route dns",
            'This command expects the format "pyconnector tunnel route dns <tunnel name/id> <hostname>"',
        )
    from pyconnector.connector.cli.account import names

    names.route_dns(Account(context, given).client, *words, overwrite=given["overwrite"], form=given["form"])


@command(route_group, "lb", words=(TUNNELS, HOSTNAMES, NOTHING))
def route_lb_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Make a tunnel an origin of a load balancer: TUNNEL HOSTNAME POOL."""
    if len(words) != 3:
        raise WrongUsage(
            "route lb",
            'This command expects the format "pyconnector tunnel route lb <tunnel name/id> <hostname> <load balancer'
            ' pool>"',
        )
    from pyconnector.connector.cli.account import names

    names.route_lb(Account(context, given).client, *words, form=given["form"])


@route_group.group("ip", invoke_without_command=True)
@click.pass_context
def route_ip_group(context: click.Context) -> None:
    """Networks that lead to a tunnel."""
    show_help(context)


@command(route_ip_group, "add", VNET, words=(NOTHING, TUNNELS, NOTHING))
def route_ip_add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Lead a network to a tunnel: CIDR TUNNEL [COMMENT]."""
    if len(words) < 2:
        raise CommandFailed(
            "You must supply at least 2 arguments, first the network you wish to route (in CIDR form e.g. 1.2.3.4/32)"
            " and then the tunnel ID to proxy with"
        )
    from pyconnector.connector.cli.account import networks

    comment = words[2] if len(words) > 2 else ""
    networks.add_route(Account(context, given).client, words[0], words[1], comment, given["vnet"], form=given["form"])


@command(
    route_ip_group, "show",
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


@command(route_ip_group, "delete", VNET, words=(ROUTES, NOTHING))
def route_ip_delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a route: its id or its network."""
    if len(words) != 1:
        raise CommandFailed("You must supply exactly one argument, the ID or CIDR of the route you want to delete")
    from pyconnector.connector.cli.account import networks

    networks.delete_route(Account(context, given).client, words[0], given["vnet"], form=given["form"])


@command(route_ip_group, "get", VNET)
def route_ip_get_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Show the route that an address takes."""
    if len(words) != 1:
        raise CommandFailed(
            "You must supply exactly one argument, an IP whose route will be queried (e.g. 1.2.3.4 or 2001:0db8:::7334)"
        )
    from pyconnector.connector.cli.account import networks

    networks.route_of(Account(context, given).client, words[0], given["vnet"], form=given["form"])


route_ip_group.add_command(route_ip_show_command, "list")


@click.group("vnet", invoke_without_command=True)
@click.pass_context
def vnet_group(context: click.Context) -> None:
    """Virtual networks, each with addresses of its own."""
    show_help(context)


@command(vnet_group, "add", click.option("--default", "-d", "is_default", is_flag=True))
def vnet_add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Make a virtual network: NAME [COMMENT]."""
    if not words:
        raise CommandFailed("You must supply at least 1 argument, the name of the virtual network you wish to add.")
    from pyconnector.connector.cli.account import networks

    comment = words[1] if len(words) > 1 else ""
    networks.add_network(
        Account(context, given).client, words[0], comment, is_default=given["is_default"], form=given["form"]
    )


@command(
    vnet_group, "list",
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


@command(
    vnet_group, "delete", click.option("--force", "-f", is_flag=True, help="Delete its routes too."),
    words=(NETWORKS, NOTHING),
)  # fmt: skip
def vnet_delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a virtual network."""
    if len(words) != 1:
        raise CommandFailed(
            "You must supply exactly one argument, either the ID or name of the virtual network to delete"
        )
    from pyconnector.connector.cli.account import networks

    networks.delete_network(Account(context, given).client, words[0], force=given["force"], form=given["form"])


@command(
    vnet_group, "update",
    click.option("--name", "-n", metavar="NAME"),
    click.option("--comment", "-c", metavar="TEXT"),
    click.option("--default", "-d", "is_default", is_flag=True, default=None),
    words=(NETWORKS, NOTHING),
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
    networks.update_network(Account(context, given).client, words[0], changes, form=given["form"])
