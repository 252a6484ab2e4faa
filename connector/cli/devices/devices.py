"""Devices of a control plane: added with a key that is made here, listed, revoked, deleted."""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import click

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.quick import qr_code
from pyconnector.identity.devices.wireguard import KEY_BYTES, WireGuardSetup, make_private_key, public_key_of

if TYPE_CHECKING:
    from pyconnector.connector.cli.account.client import ApiClient

_PATH = "devices/registrations"
_COLUMNS = ("ID", "NAME", "ADDRESS", "KIND", "TOKEN", "PORT", "CREATED", "REVOKED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A device that is to be added, and where its configuration goes."""

    name: str
    token: str
    endpoint: str
    networks: tuple[str, ...] = ()
    "What it sends through the tunnel; none for every route's network."
    has_dns: bool = True
    path: str | None = None
    qr: bool = False


def add(client: ApiClient, wish: Wish, *, form: str) -> None:
    """Add a device, and print its configuration or write it to a file.

    Raises:
        CommandFailed: the control plane adds none, or the file cannot be written.
    """
    output.check_form(form)
    networks = [_network(text) for text in wish.networks] or _routed(client)
    descriptor = None if wish.path is None else _new_file(wish.path)
    private_key = make_private_key(secrets.token_bytes(KEY_BYTES))
    body = {"name": wish.name, "token": wish.token, "key": public_key_of(private_key)}
    try:
        made = client.call("add device", "POST", client.account(_PATH), body)
    except ApiError as error:
        _give_up(descriptor, wish.path)
        raise CommandFailed(f"API error: Failed to add device: {error}") from None
    text = _setup(made, wish, private_key, networks)
    if descriptor is not None:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    if form:
        told = {**made, "configuration": wish.path or text}
        output.print_structured(form, told, told)
        return
    click.echo(f"Added device {made['name']} with Mesh address {made['address']}", err=True)
    click.echo(f"{wish.path}: its configuration, for its owner alone" if wish.path else text)
    if wish.qr:
        click.echo(qr_code(text) or "A QR code needs one more package: pip install 'pyconnector[mesh]'")
    click.echo("The private key in it is kept nowhere else.", err=True)


def show(client: ApiClient, *, form: str) -> None:
    """Print the devices there are.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(form)
    rows = _all(client)
    if form:
        output.print_structured(form, rows, rows)
    elif rows:
        click.echo(output.table(_COLUMNS, [_row(row) for row in rows]), nl=False)
    else:
        click.echo("There are no devices.")


def delete(client: ApiClient, name: str, *, form: str) -> None:
    """Delete a device.

    Raises:
        CommandFailed: there is not exactly one of that name or id, or it is a service token's.
    """
    output.check_form(form)
    found = _find(client, name)
    try:
        client.call("delete device", "DELETE", client.account(f"{_PATH}/{found['id']}"))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to delete device: {error}") from None
    _done(found, f"Deleted device {found['name']}", form)


def set_revoked(client: ApiClient, name: str, *, revoked: bool, form: str) -> None:
    """Revoke a device, or let it in again.

    Raises:
        CommandFailed: there is not exactly one of that name or id.
    """
    output.check_form(form)
    found = _find(client, name)
    action = "revoke" if revoked else "unrevoke"
    try:
        client.call(f"{action} device", "POST", client.account(f"{_PATH}/{action}"), id=found["id"])
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to {action} device: {error}") from None
    _done(found, f"{'Revoked' if revoked else 'Let in again'} device {found['name']}", form)


def _setup(made: dict[str, Any], wish: Wish, private_key: str, networks: list[Any]) -> str:
    told = made["wireguard"]
    dns = IPv4Address(told["dns_address"])
    first = [ipaddress.ip_network(dns), ipaddress.ip_network(told["name_range"])] if wish.has_dns else []
    host = f"[{wish.endpoint}]" if ":" in wish.endpoint else wish.endpoint
    setup = WireGuardSetup(
        private_key=private_key, address=IPv4Address(made["address"]), server_key=told["server_key"],
        endpoint=f"{host}:{told['port']}", dns=dns if wish.has_dns else None,
        networks=list(dict.fromkeys([*first, *networks])),
    )  # fmt: skip
    return setup.text()


def _routed(client: ApiClient) -> list[Any]:
    try:
        rows = client.pages("list routes", client.account("teamnet/routes"), is_deleted="false")
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to list routes (or give --network): {error}") from None
    return [ipaddress.ip_network(row["network"]) for row in rows]


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise CommandFailed(f"{text!r} is no network, such as 10.0.0.0/8") from None


def _new_file(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None


def _give_up(descriptor: int | None, path: str | None) -> None:
    if descriptor is not None and path is not None:
        os.close(descriptor)
        os.unlink(path)


def _all(client: ApiClient) -> list[dict[str, Any]]:
    try:
        return client.pages("list devices", client.account(_PATH))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to list devices: {error}") from None


def _find(client: ApiClient, name: str) -> dict[str, Any]:
    try:
        wanted = str(UUID(name))
    except ValueError:
        wanted = ""
    if wanted:
        try:
            found: dict[str, Any] = client.call("get device", "GET", client.account(f"{_PATH}/{quote(wanted)}"))
        except ApiError as error:
            raise CommandFailed(f"API error: Failed to get device: {error}") from None
        return found
    rows = [row for row in _all(client) if row["name"] == name]
    if len(rows) != 1:
        raise CommandFailed(f"there are {len(rows)} devices called {name!r}: give the id of one")
    return rows[0]


def _done(row: dict[str, Any], text: str, form: str) -> None:
    if form:
        output.print_structured(form, {"id": row["id"]}, {"id": row["id"]})
    else:
        click.echo(text)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    wireguard = row.get("wireguard") or {}
    return (
        str(row["id"]), str(row["name"]), str(row["address"]), str(row["kind"]), str(row["user"]["name"]),
        str(wireguard.get("port", "-")), output.short_time(row["created_at"]), output.short_time(row["revoked_at"]),
    )  # fmt: skip
