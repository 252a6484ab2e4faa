"""Tunnels: create, list, info, delete, cleanup, token."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiClient, ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.lookup import find, find_all, is_uuid, say
from pyconnector.connector.config.credentials import find_file

#: Bytes of a secret.
SECRET_BYTES = 32
_COLUMNS = ("ID", "NAME", "CREATED", "CONNECTIONS")
_INFO_COLUMNS = ("CONNECTOR ID", "CREATED", "ARCHITECTURE", "VERSION", "ORIGIN IP", "EDGE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWish:
    """What `list` is to show, and how."""

    form: str = ""
    show_deleted: bool = False
    name: str | None = None
    name_prefix: str | None = None
    exclude_prefix: str | None = None
    id: str | None = None
    recently_disconnected: bool = False
    sort_by: str = "name"
    invert_sort: bool = False


def create(
    client: ApiClient, directory: Path, name: str, *, form: str, path: str | None, secret: str | None
) -> tuple[str, Path]:
    """Make a tunnel and write its credentials; return its id and where they are.

    Raises:
        CommandFailed: it could not be made, or not written: then it is deleted again.
    """
    prefix = "failed to create tunnel: "
    if not name:
        raise CommandFailed(prefix + "Create Tunnel API call failed: tunnel name required")
    if is_uuid(name):
        raise CommandFailed(prefix + "Create Tunnel API call failed: you cannot use UUIDs as tunnel names")
    output.check_form(form, prefix)
    raw = _secret(secret)
    body = {"name": name, "tunnel_secret": base64.b64encode(raw).decode("ascii")}
    try:
        made = client.call("create tunnel", "POST", client.account("cfd_tunnel"), body)
    except ApiError as error:
        text = "tunnel with name already exists" if "code: 1013" in str(error) else str(error)
        raise CommandFailed(f"{prefix}Create Tunnel API call failed: {text}") from None
    target = Path(path).expanduser() if path else directory / f"{made['id']}.json"
    try:
        write_credentials(target, client.account_id, made["id"], raw)
    except OSError as error:
        _undo(client, made, target, error)
    if form:
        told = _tunnel_json(made)
        output.print_structured(
            form, {**told, "token": made["token"]}, {"tunnel": _tunnel_yaml(told), "token": made["token"]}
        )
        return made["id"], target
    chosen = "" if path else " pyconnector chose this file based on where your origin certificate was found."
    click.echo(
        f"Tunnel credentials written to {target}.{chosen} Keep this file secret. To revoke these credentials, delete"
        f" the tunnel.\n\nCreated tunnel {made['name']} with id {made['id']}"
    )
    return made["id"], target


def _undo(client: ApiClient, made: dict[str, Any], target: Path, error: OSError) -> None:
    reason = f"{target} already exists" if isinstance(error, FileExistsError) else error.strerror or error
    text = (
        f"failed to create tunnel: Your tunnel '{made['name']}' was created with ID {made['id']}. However, pyconnector"
        f" couldn't write tunnel credentials to {target}.\nThe file-writing error is: {reason}\n"
    )
    try:
        client.call("delete tunnel", "DELETE", client.account(f"cfd_tunnel/{made['id']}"), cascade="true")
    except ApiError as deleting:
        raise CommandFailed(f"{text}Deleting the tunnel failed too: {deleting}. Delete it by hand.") from None
    raise CommandFailed(f"{text}The tunnel was deleted, because the tunnel can't be run without the credentials file")


def write_credentials(path: Path, account: str, tunnel_id: str, secret: bytes) -> None:
    """Write a credentials file of mode 0400, byte for byte as the reference does.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    fields = {
        "AccountTag": account, "TunnelSecret": base64.b64encode(secret).decode("ascii"), "TunnelID": tunnel_id,
        "Endpoint": "",
    }  # fmt: skip
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(json.dumps(fields, separators=(",", ":")))


def list_tunnels(client: ApiClient, wish: ListWish) -> None:
    """Print the tunnels.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(wish.form)
    try:
        found = client.pages(
            "list tunnels", client.account("cfd_tunnel"), is_deleted=None if wish.show_deleted else "false",
            name=wish.name, name_prefix=wish.name_prefix, exclude_prefix=wish.exclude_prefix, uuid=wish.id,
        )  # fmt: skip
    except ApiError as error:
        raise CommandFailed(f"Error Parsing page 1: REST request failed: {error}") from None
    rows = [_tunnel_json(row) for row in found]
    keys = {
        "name": lambda row: row["name"], "id": lambda row: row["id"], "createdAt": lambda row: row["created_at"],
        "deletedAt": lambda row: row["deleted_at"], "numConnections": lambda row: len(row["connections"]),
    }  # fmt: skip
    rows.sort(key=keys.get(wish.sort_by, keys["name"]), reverse=wish.invert_sort)
    if wish.form:
        output.print_structured(wish.form, rows or None, [_tunnel_yaml(row) for row in rows])
    elif rows:
        click.echo(
            "You can obtain more detailed information for each tunnel with `pyconnector tunnel info <name/uuid>`"
        )
        cells = [
            (row["id"], row["name"], output.short_time(row["created_at"]), _by_location(row["connections"], wish))
            for row in rows
        ]
        click.echo(output.table(_COLUMNS, cells), nl=False)
    else:
        click.echo(
            "No tunnels were found for the given filter flags. You can use 'pyconnector tunnel create' to create a"
            " tunnel."
        )


def info(client: ApiClient, name: str, *, form: str) -> None:
    """Print who is connected to a tunnel.

    Raises:
        CommandFailed: there is no such tunnel, or it could not be had.
    """
    output.check_form(form)
    tunnel_id = find(client, name, "error parsing tunnel ID: ")
    path = client.account(f"cfd_tunnel/{tunnel_id}/connections")
    try:
        clients = client.call("list connection details", "GET", path) or []
    except ApiError as error:
        raise CommandFailed(f"Failed to list connection details: {error}") from None
    try:
        rows = client.pages("list tunnels", client.account("cfd_tunnel"), uuid=tunnel_id)
    except ApiError as error:
        raise CommandFailed(f"Error Parsing page 1: REST request failed: {error}") from None
    if len(rows) != 1:
        raise CommandFailed(f"Expected to find a single tunnel with uuid {tunnel_id} but found {len(rows)} tunnels.")
    tunnel = rows[0]
    clients.sort(key=lambda row: row.get("run_at") or "")
    if form:
        created = output.exact_time(tunnel["created_at"])
        output.print_structured(
            form, {"id": tunnel["id"], "name": tunnel["name"], "createdAt": created, "conns": clients},
            {"id": tunnel["id"], "name": tunnel["name"], "createdat": output.Moment(created), "connectors": clients},
        )  # fmt: skip
        return
    if not clients:
        click.echo(f"Your tunnel {tunnel_id} does not have any active connection.")
        return
    click.echo(
        f"NAME:     {tunnel['name']}\nID:       {tunnel['id']}\nCREATED:  {output.long_time(tunnel['created_at'])}\n"
    )
    cells = [
        (
            row["id"], output.short_time(row.get("run_at")), row.get("arch") or "", row.get("version") or "",
            row["conns"][0]["origin_ip"] if row.get("conns") else "", _by_location(row.get("conns") or [], ListWish()),
        )
        for row in clients
    ]  # fmt: skip
    click.echo(output.table(_INFO_COLUMNS, cells), nl=False)


def delete(
    client: ApiClient, names: list[str], *, force: bool, credentials: str | None, beside: Path, form: str = ""
) -> None:
    """Delete tunnels, and their credentials files where they are found: in `beside` first, where `create` left them.

    Raises:
        CommandFailed: one could not be deleted; those before it are.
    """
    output.check_form(form)
    deleted = []
    for tunnel_id in find_all(client, names):
        path = client.account(f"cfd_tunnel/{tunnel_id}")
        try:
            tunnel = client.call("get tunnel", "GET", path)
        except ApiError as error:
            raise CommandFailed(
                f"Can't get tunnel information. Please check tunnel id: {tunnel_id}: Failed to get tunnel: {error}"
            ) from None
        if tunnel.get("deleted_at"):
            raise CommandFailed(f"Tunnel {tunnel_id} has already been deleted")
        try:
            client.call("delete tunnel", "DELETE", path, cascade="true" if force else None)
        except ApiError as error:
            raise CommandFailed(f"Error deleting tunnel {tunnel_id}: Failed to delete tunnel: {error}") from None
        own = beside / f"{tunnel_id}.json"
        file = credentials or (str(own) if own.is_file() else find_file(UUID(tunnel_id)))
        if file is not None:
            Path(file).expanduser().unlink(missing_ok=True)
        deleted.append({"id": tunnel_id, "name": tunnel.get("name") or ""})
    if form:
        output.print_structured(form, deleted, deleted)


def clean_up(client: ApiClient, names: list[str], *, connector_id: str | None, form: str = "") -> None:
    """Close the connections of tunnels. What the API refuses is told and passed over.

    Raises:
        CommandFailed: there is no such tunnel.
    """
    output.check_form(form)
    told = []
    for tunnel_id in find_all(client, names):
        say(f"Cleanup connection for tunnel {tunnel_id}")
        path = client.account(f"cfd_tunnel/{tunnel_id}/connections")
        try:
            client.call("cleanup connections", "DELETE", path, client_id=connector_id)
            told.append({"id": tunnel_id, "error": ""})
        except ApiError as error:
            told.append({"id": tunnel_id, "error": str(error)})
            say(f"Error cleaning up connections for tunnel {tunnel_id}: {error}", level="ERR")
    if form:
        output.print_structured(form, told, told)


def token(client: ApiClient, name: str, *, path: str | None, form: str = "") -> None:
    """Print what a connector of a tunnel is started with, or write it as a credentials file.

    Raises:
        CommandFailed: there is no such tunnel, or the file is there already.
    """
    output.check_form(form)
    tunnel_id = find(client, name, "error parsing tunnel ID: ")
    try:
        text = client.call("get tunnel token", "GET", client.account(f"cfd_tunnel/{tunnel_id}/token"))
        fields = json.loads(base64.b64decode(text, validate=True))
        account, secret, found = fields["a"], fields["s"], fields["t"]
        raw = base64.b64decode(secret, validate=True)
    except ApiError as error:
        raise CommandFailed(f"Failed to get tunnel token: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise CommandFailed("Failed to get tunnel token: what came is none") from None
    if path is None:
        again = {"a": account, "s": secret, "t": found, **({"e": fields["e"]} if fields.get("e") else {})}
        text = base64.b64encode(json.dumps(again, separators=(",", ":")).encode()).decode("ascii")
        if form:
            output.print_structured(form, {"token": text}, {"token": text})
        else:
            click.echo(text)
        return
    try:
        write_credentials(Path(path).expanduser(), account, found, raw)
    except OSError as error:
        reason = f"{path} already exists" if isinstance(error, FileExistsError) else error.strerror or error
        raise CommandFailed(f"error writing token credentials to JSON file in path {path}: {reason}") from None
    if form:
        output.print_structured(form, {"credentials_file": path}, {"credentials_file": path})


def _secret(text: str | None) -> bytes:
    if text is None:
        return secrets.token_bytes(SECRET_BYTES)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CommandFailed(
            "failed to create tunnel: Couldn't decode tunnel secret from base64: it is not base64"
        ) from None
    if len(raw) < SECRET_BYTES:
        raise CommandFailed(
            f"failed to create tunnel: Decoded tunnel secret must be at least {SECRET_BYTES} bytes long"
        )
    return raw


def _by_location(connections: list[dict[str, Any]], wish: ListWish) -> str:
    shown = [row for row in connections if wish.recently_disconnected or not row.get("is_pending_reconnect")]
    counts = Counter(row["colo_name"] for row in shown)
    return ", ".join(f"{count}x{location}" for location, count in sorted(counts.items()))


def _tunnel_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "created_at": output.exact_time(row.get("created_at")),
        "deleted_at": output.exact_time(row.get("deleted_at")),
        "connections": [
            {
                "colo_name": entry["colo_name"],
                "id": entry["id"],
                "is_pending_reconnect": bool(entry.get("is_pending_reconnect")),
                "origin_ip": entry.get("origin_ip") or "",
                "opened_at": output.exact_time(entry.get("opened_at")),
            }
            for entry in row.get("connections") or ()
        ],
    }


def _tunnel_yaml(row: dict[str, Any]) -> dict[str, Any]:
    told = {name.replace("_", ""): value for name, value in row.items()}
    for name in ("createdat", "deletedat"):
        told[name] = output.Moment(told[name])
    told["connections"] = [
        {name.replace("_", ""): output.Moment(value) if name == "opened_at" else value for name, value in entry.items()}
        for entry in row["connections"]
    ]
    return told
