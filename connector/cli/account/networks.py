"""Names, IP routes and virtual networks: route dns, route ip, vnet."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import quote
from uuid import UUID

import click
import idna

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiClient, ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.tunnels import find, say

_HOSTNAME = re.compile(r"[*_a-zA-Z0-9][-_.a-zA-Z0-9]*")
_ROUTE_COLUMNS = (
    "ID", "NETWORK", "VIRTUAL NET ID", "COMMENT", "TUNNEL ID", "TUNNEL NAME", "CREATED", "DELETED",
)  # fmt: skip
_NETWORK_COLUMNS = ("ID", "NAME", "IS DEFAULT", "COMMENT", "CREATED", "DELETED")
_NIL = str(UUID(int=0))


def route_dns(client: ApiClient, tunnel: str, hostname: str, *, overwrite: bool) -> None:
    """Lead a hostname to a tunnel.

    Raises:
        CommandFailed: there is no such tunnel, that is no hostname, or it leads elsewhere.
    """
    tunnel_id = find(client, tunnel)
    if not is_hostname(hostname):
        raise CommandFailed(f"{hostname} is not a valid hostname")
    body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": overwrite}
    try:
        result = client.call("add route", "PUT", client.zone(f"tunnels/{tunnel_id}/routes"), body) or {}
    except ApiError as error:
        raise CommandFailed(f"Failed to add route: {error}") from None
    name = result.get("name") or hostname
    sentences = {
        "new": f"Added CNAME {name} which will route to this tunnel",
        "updated": f"{name} updated to route to your tunnel",
        "unchanged": f"{name} is already configured to route to your tunnel",
    }
    say(sentences.get(str(result.get("cname")), f"{name} leads to your tunnel"), tunnelID=tunnel_id)


def add_route(client: ApiClient, network: str, tunnel: str, comment: str, vnet: str | None) -> None:
    """Make a route for a network.

    Raises:
        CommandFailed: that is no network, there is no such tunnel or virtual network, or there is a route.
    """
    parsed = _network(network)
    tunnel_id = find(client, tunnel, "Invalid tunnel: ")
    body = {"network": str(parsed), "tunnel_id": tunnel_id, "comment": comment}
    if vnet is not None:
        body["virtual_network_id"] = find_network(client, vnet)
    try:
        client.call("add route", "POST", client.account("teamnet/routes"), body)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to add route: {error}") from None
    click.echo(f"Successfully added route for {parsed} over tunnel {tunnel_id}")


def show_routes(client: ApiClient, form: str, **query: str | None) -> None:
    """Print routes.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(form)
    rows = _routes(client, **query)
    if form:
        told = [_route_json(row) for row in rows]
        output.print_structured(form, told or None, [_route_yaml(row) for row in told])
    elif rows:
        _print_routes(rows)
    else:
        click.echo(
            "No routes were found for the given filter flags. You can use 'pyconnector tunnel route ip add' to add a"
            " route."
        )


def delete_route(client: ApiClient, route: str, vnet: str | None) -> None:
    """Delete a route, by its id or its network.

    Raises:
        CommandFailed: there is no such route.
    """
    try:
        route_id = str(UUID(route))
    except ValueError:
        network = str(_network(route))
        vnet_id = None if vnet is None else find_network(client, vnet)
        rows = _routes(
            client, is_deleted="false", network_subset=network, network_superset=network, virtual_network_id=vnet_id
        )
        if len(rows) != 1:
            raise CommandFailed("unable to find route for provided network and vnet") from None
        route_id = str(rows[0]["id"])
    try:
        client.call("delete route", "DELETE", client.account(f"teamnet/routes/{route_id}"))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to delete route: {error}") from None
    click.echo(f"Successfully deleted route with ID {route_id}")


def route_of(client: ApiClient, address: str, vnet: str | None) -> None:
    """Print the route that an address takes.

    Raises:
        CommandFailed: that is no address, or it could not be asked.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise CommandFailed(f"Invalid IP {address}") from None
    vnet_id = None if vnet is None else find_network(client, vnet)
    path = client.account(f"teamnet/routes/ip/{quote(address, safe='')}")
    try:
        row = client.call("get route by IP", "GET", path, virtual_network_id=vnet_id)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to get route by IP: {error}") from None
    if not row or row.get("tunnel_id", _NIL) == _NIL:
        click.echo(f"No route matches the IP {address}")
    else:
        _print_routes([row])


def add_network(client: ApiClient, name: str, comment: str, *, is_default: bool) -> None:
    """Make a virtual network.

    Raises:
        CommandFailed: it could not be made.
    """
    body = {"name": name, "comment": comment, "is_default_network": is_default}
    try:
        made = client.call("add virtual network", "POST", client.account("teamnet/virtual_networks"), body)
    except ApiError as error:
        raise CommandFailed(f"Could not add virtual network: Failed to add virtual network: {error}") from None
    default = " (as the new default for this account) " if made.get("is_default_network") else ""
    click.echo(
        f"Successfully added virtual 'network' {made['name']} with ID: {made['id']}{default}\n"
        "You can now add IP routes attached to this virtual network. See `pyconnector tunnel route ip add -help`"
    )


def list_networks(client: ApiClient, form: str, **query: str | None) -> None:
    """Print virtual networks.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(form)
    rows = _networks(client, **query)
    if form:
        told = [_network_json(row) for row in rows]
        names = {"is_default_network": "isdefault", "created_at": "createdat", "deleted_at": "deletedat"}
        plain = [
            {
                names.get(name, name): output.Moment(value) if name.endswith("_at") else value
                for name, value in row.items()
            }
            for row in told
        ]
        output.print_structured(form, told, plain)
    elif rows:
        cells = [
            (
                row["id"], row["name"], str(bool(row.get("is_default_network"))).lower(), row.get("comment") or "",
                output.short_time(row.get("created_at")), output.short_time(row.get("deleted_at")),
            )
            for row in rows
        ]  # fmt: skip
        click.echo(output.table(_NETWORK_COLUMNS, cells), nl=False)
    else:
        click.echo(
            "No virtual networks were found for the given filter flags. You can use 'pyconnector tunnel vnet add' to"
            " add a virtual network."
        )


def delete_network(client: ApiClient, name: str, *, force: bool) -> None:
    """Delete a virtual network, with `force` its routes too.

    Raises:
        CommandFailed: there is none, or it is in use.
    """
    path = client.account(f"teamnet/virtual_networks/{find_network(client, name)}")
    try:
        client.call("delete virtual network", "DELETE", path, force="true" if force else None)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to delete virtual network: {error}") from None
    click.echo(f"Successfully deleted virtual network '{name}'")


def update_network(client: ApiClient, name: str, changes: dict[str, object]) -> None:
    """Change what is given of a virtual network.

    Raises:
        CommandFailed: there is none, or it cannot be changed so.
    """
    path = client.account(f"teamnet/virtual_networks/{find_network(client, name)}")
    try:
        client.call("update virtual network", "PATCH", path, changes)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to update virtual network: {error}") from None
    click.echo(f"Successfully updated virtual network '{name}'")


def find_network(client: ApiClient, name: str) -> str:
    """Return the id of a virtual network that is named by it or by its name.

    Raises:
        CommandFailed: there is not exactly one.
    """
    try:
        return str(UUID(name))
    except ValueError:
        rows = _networks(client, is_deleted="false", name=name)
    if len(rows) != 1:
        raise CommandFailed(f"there should only be 1 non-deleted virtual network named {name}")
    return str(rows[0]["id"])


def _routes(client: ApiClient, **query: str | None) -> list[dict[str, Any]]:
    try:
        return client.pages("list routes", client.account("teamnet/routes"), tun_types="cfd_tunnel", **query)
    except ApiError as error:
        raise CommandFailed(f"Error Parsing page 1: REST request failed: {error}") from None


def _networks(client: ApiClient, **query: str | None) -> list[dict[str, Any]]:
    try:
        found = client.call("list virtual networks", "GET", client.account("teamnet/virtual_networks"), **query)
    except ApiError as error:
        raise CommandFailed(f"Failed to list virtual networks: {error}") from None
    return found if isinstance(found, list) else []


def _print_routes(rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            row["id"], row["network"], row.get("virtual_network_id") or "default", row.get("comment") or "",
            row["tunnel_id"], row.get("tunnel_name") or "", output.short_time(row.get("created_at")),
            output.short_time(row.get("deleted_at")),
        )
        for row in rows
    ]  # fmt: skip
    click.echo(output.table(_ROUTE_COLUMNS, cells), nl=False)


def _route_json(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in ("id", "network", "tunnel_id")}
    if row.get("virtual_network_id"):
        told["virtual_network_id"] = row["virtual_network_id"]
    return told | {
        "comment": row.get("comment") or "", "created_at": output.exact_time(row.get("created_at")),
        "deleted_at": output.exact_time(row.get("deleted_at")), "tunnel_name": row.get("tunnel_name") or "",
    }  # fmt: skip


def _route_yaml(row: dict[str, Any]) -> dict[str, Any]:
    network = ipaddress.ip_network(row["network"])
    return {
        "id": row["id"],
        "network": {"ip": str(network.network_address), "mask": list(network.netmask.packed)},
        "tunnelid": row["tunnel_id"],
        "vnetid": row.get("virtual_network_id"),
        "comment": row["comment"],
        "createdat": output.Moment(row["created_at"]),
        "deletedat": output.Moment(row["deleted_at"]),
        "tunnelname": row["tunnel_name"],
    }


def _network_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "comment": row.get("comment") or "",
        "name": row["name"],
        "is_default_network": bool(row.get("is_default_network")),
        "created_at": output.exact_time(row.get("created_at")),
        "deleted_at": output.exact_time(row.get("deleted_at")),
    }


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CommandFailed(f"Invalid network CIDR: invalid CIDR address: {text}") from None


def is_hostname(text: str) -> bool:
    """Return whether a text is a hostname, perhaps behind `*.`."""
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        encoded = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return False
    labels = encoded.removesuffix(".").split(".")
    fits = all(0 < len(label) <= 63 for label in labels) and len(encoded) <= 253
    return fits and _HOSTNAME.fullmatch(star + encoded) is not None
