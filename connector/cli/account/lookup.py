"""Which tunnel a name means, and lines of the log that tell what was done."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from pyconnector.connector.cli.account.client import ApiError
from pyconnector.connector.cli.account.errors import CommandFailed

if TYPE_CHECKING:
    from pyconnector.connector.cli.account.client import ApiClient


def find(client: ApiClient, name: str, prefix: str = "") -> str:
    """Return the id of a tunnel that is named by it or by its name.

    Raises:
        CommandFailed: there is not exactly one.
    """
    if is_uuid(name):
        return str(UUID(name))
    rows = _named(client, name)
    if len(rows) != 1:
        raise CommandFailed(f"{prefix}{name} is neither the ID nor the name of any of your tunnels")
    return str(rows[0]["id"])


def find_all(client: ApiClient, names: list[str]) -> list[str]:
    """Return the ids of tunnels, those given by id first.

    Raises:
        CommandFailed: a name is not that of exactly one.
    """
    ids = [str(UUID(name)) for name in names if is_uuid(name)]
    for name in names:
        if not is_uuid(name):
            rows = _named(client, name)
            if len(rows) != 1:
                raise CommandFailed(f"there should only be 1 non-deleted Tunnel named {name}")
            ids.append(str(rows[0]["id"]))
    return ids


def say(text: str, level: str = "INF", **fields: str) -> None:
    """Print a line of the log on stderr, as the reference tells what it did."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    click.echo(" ".join([now, level, text, *[f"{name}={value}" for name, value in fields.items()]]), err=True)


def is_uuid(text: str) -> bool:
    """Return whether a text is the id of a tunnel, in any of its spellings."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _named(client: ApiClient, name: str) -> list[dict[str, Any]]:
    try:
        return client.pages("list tunnels", client.account("cfd_tunnel"), is_deleted="false", name=name)
    except ApiError as error:
        raise CommandFailed(f"Error Parsing page 1: REST request failed: {error}") from None
