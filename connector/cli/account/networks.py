"""IP routes and virtual networks: route ip, vnet."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import quote
from uuid import UUID

import click

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiClient, ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.lookup import find

_ROUTE_COLUMNS = (
    "ID", "NETWORK", "VIRTUAL NET ID", "COMMENT", "TUNNEL ID", "TUNNEL NAME", "CREATED", "DELETED",
)  # fmt: skip
_NETWORK_COLUMNS = ("ID", "NAME", "IS DEFAULT", "COMMENT", "CREATED", "DELETED")
_NIL = str(UUID(int=0))


def add_route(client: ApiClient, network: str, tunnel: str, comment: str, vnet: str | None, *, form: str = "") -> None:
    """Make a route for a network.

    Raises:
        CommandFailed: that is no network, there is no such tunnel or virtual network, or there is a route.
    """
    output.check_form(form)
    parsed = _network(network)
    tunnel_id = find(client, tunnel, "Invalid tunnel: ")
    body = {"network": str(parsed), "tunnel_id": tunnel_id, "comment": comment}
    if vnet is not None:
        body["virtual_network_id"] = find_network(client, vnet)
    try:
        made = client.call("add route", "POST", client.account("teamnet/routes"), body)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to add route: {error}") from None
    if form:
        _print_route(form, made)
    else:
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


def delete_route(client: ApiClient, route: str, vnet: str | None, *, form: str = "") -> None:
    """Delete a route, by its id or its network.

    Raises:
        CommandFailed: there is no such route.
    """
    output.check_form(form)
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
    if form:
        output.print_structured(form, {"id": route_id}, {"id": route_id})
    else:
        click.echo(f"Successfully deleted route with ID {route_id}")


def route_of(client: ApiClient, address: str, vnet: str | None, *, form: str = "") -> None:
    """Print the route that an address takes.

    Raises:
        CommandFailed: that is no address, or it could not be asked.
    """
    output.check_form(form)
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
    is_none = not row or row.get("tunnel_id", _NIL) == _NIL
    if form:
        _print_route(form, None if is_none else row)
    elif is_none:
        click.echo(f"No route matches the IP {address}")
    else:
        _print_routes([row])


def add_network(client: ApiClient, name: str, comment: str, *, is_default: bool, form: str = "") -> None:
    """Make a virtual network.

    Raises:
        CommandFailed: it could not be made.
    """
    output.check_form(form)
    body = {"name": name, "comment": comment, "is_default_network": is_default}
    try:
        made = client.call("add virtual network", "POST", client.account("teamnet/virtual_networks"), body)
    except ApiError as error:
        raise CommandFailed(f"Could not add virtual network: Failed to add virtual network: {error}") from None
    if form:
        told = _network_json(made)
        output.print_structured(form, told, _network_yaml(told))
        return
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
        output.print_structured(form, told, [_network_yaml(row) for row in told])
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


def delete_network(client: ApiClient, name: str, *, force: bool, form: str = "") -> None:
    """Delete a virtual network, with `force` its routes too.

    Raises:
        CommandFailed: there is none, or it is in use.
    """
    output.check_form(form)
    network_id = find_network(client, name)
    path = client.account(f"teamnet/virtual_networks/{network_id}")
    try:
        client.call("delete virtual network", "DELETE", path, force="true" if force else None)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to delete virtual network: {error}") from None
    if form:
        output.print_structured(form, {"id": network_id}, {"id": network_id})
    else:
        click.echo(f"Successfully deleted virtual network '{name}'")


def update_network(client: ApiClient, name: str, changes: dict[str, object], *, form: str = "") -> None:
    """Change what is given of a virtual network.

    Raises:
        CommandFailed: there is none, or it cannot be changed so.
    """
    output.check_form(form)
    path = client.account(f"teamnet/virtual_networks/{find_network(client, name)}")
    try:
        changed = client.call("update virtual network", "PATCH", path, changes)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to update virtual network: {error}") from None
    if form:
        told = _network_json(changed)
        output.print_structured(form, told, _network_yaml(told))
    else:
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


def _print_route(form: str, row: dict[str, Any] | None) -> None:
    told = None if row is None else _route_json(row)
    output.print_structured(form, told, None if told is None else _route_yaml(told))


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


def _network_yaml(row: dict[str, Any]) -> dict[str, Any]:
    names = {"is_default_network": "isdefault", "created_at": "createdat", "deleted_at": "deletedat"}
    return {
        names.get(name, name): output.Moment(value) if name.endswith("_at") else value for name, value in row.items()
    }


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CommandFailed(f"Invalid network CIDR: invalid CIDR address: {text}") from None
