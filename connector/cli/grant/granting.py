"""Where a file is served, and the grants of a control plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import click

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.config import check_config, find_config
from pyconnector.ingress.config.durations import parse_duration
from pyconnector.ingress.config.services import FilesService

if TYPE_CHECKING:
    from pyconnector.connector.cli.account.client import ApiClient

#: Bytes of a file with a token that are read.
MAX_TOKEN_FILE: Final = 4096
_COLUMNS = ("ID", "TOKEN", "URL", "CREATED", "EXPIRES")


def client_of(client: ApiClient, token_file: str | None) -> ApiClient:
    """Return a client that shows the token of a file, where one is named.

    Raises:
        CommandFailed: it cannot be read, or holds none.
    """
    if not token_file:
        return client
    try:
        with Path(token_file).open("rb") as file:
            token = file.read(MAX_TOKEN_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "") or "it is no text"
        raise CommandFailed(f"{token_file} cannot be read: {why}") from None
    if not token or not token.isprintable() or " " in token:
        raise CommandFailed(f"{token_file} holds no API token")
    return replace(client, token=token)


def seconds_of(text: str) -> int:
    """Return the seconds of a duration.

    Raises:
        CommandFailed: it is none.
    """
    try:
        return int(parse_duration(text))
    except ValueError:
        raise CommandFailed(f"{text!r} is no duration, such as 30m or 2h") from None


def place_of(what: str, config: str | None) -> tuple[str, str]:
    """Return host and path of a URL, or of a file that a rule of the config serves.

    Raises:
        CommandFailed: it is neither.
    """
    if what.startswith(("https://", "http://")):
        try:
            url = urlsplit(what)
            host = url.hostname or ""
        except ValueError:
            host = ""
        if not host or url.query or url.fragment:
            raise CommandFailed(f"{what!r} is no address of a file, such as https://docs.example.com/handbook.pdf")
        return host, url.path or "/"
    if not what.startswith("files:/"):
        raise CommandFailed("What is granted is files:/FILE, or https://HOST/PATH")
    return _served(what.removeprefix("files:"), config)


def grant(client: ApiClient, token: str, seconds: int, host: str, path: str, *, form: str) -> None:
    """Make a grant, and print its URL and its token.

    Raises:
        CommandFailed: the control plane makes none.
    """
    output.check_form(form)
    body = {"token": token, "host": host, "path": path, "seconds": seconds}
    try:
        made = client.call("grant", "POST", client.account("access/grants"), body)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to grant: {error}") from None
    if form:
        output.print_structured(form, made, made)
        return
    click.echo(f"{made['token_name']} may read {made['url']} until {output.short_time(made['expires_at'])}")
    click.echo(f"grant: {made['id']}")
    click.echo(f"url:   {made['url']}")
    click.echo(f"token: {made['token']}")
    click.echo("The token is shown once; it goes into the header Cf-Access-Token.", err=True)


def show(client: ApiClient, *, form: str) -> None:
    """Print the grants there are.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(form)
    try:
        rows = client.pages("list grants", client.account("access/grants"))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to list grants: {error}") from None
    if form:
        output.print_structured(form, rows, rows)
    elif rows:
        click.echo(output.table(_COLUMNS, [_row(row) for row in rows]), nl=False)
    else:
        click.echo("There are no grants.")


def revoke(client: ApiClient, grant_id: str, *, form: str) -> None:
    """End a grant.

    Raises:
        CommandFailed: there is none of that id.
    """
    output.check_form(form)
    try:
        UUID(grant_id)
        client.call("revoke grant", "DELETE", client.account(f"access/grants/{grant_id}"))
    except ValueError:
        raise CommandFailed(f"{grant_id!r} is no id of a grant") from None
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to revoke grant: {error}") from None
    if form:
        output.print_structured(form, {"id": grant_id}, {"id": grant_id})
    else:
        click.echo(f"Ended grant {grant_id}")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    created, expires = (output.short_time(row[name]) for name in ("created_at", "expires_at"))
    return str(row["id"]), str(row["token_name"]), str(row["url"]), created, expires


def _served(file: str, config: str | None) -> tuple[str, str]:
    """Return where a rule of the config serves a file: the one whose directory is nearest."""
    config = config or find_config()
    if config is None:
        raise CommandFailed("No config file was found: give --config FILE, or https://HOST/PATH")
    rules, problems = check_config(config, overrides_of({}))
    if rules is None:
        raise CommandFailed(f"{config} cannot be used: {next(str(p) for p in problems if not p.warning)}")
    found: list[tuple[int, str, str]] = []
    for rule in rules.ingress.rules:
        if not isinstance(rule.service, FilesService) or not rule.hostname or "*" in rule.hostname:
            continue
        root = rule.service.path.rstrip("/")
        if file == root or file.startswith(root + "/"):
            found.append((len(root), rule.hostname, file.removeprefix(root) or "/"))
    if not found:
        raise CommandFailed(f"No rule of {config} serves {file}: it takes a hostname and service: files:/DIRECTORY")
    _, host, path = max(found)
    return host, quote(path, safe="/!$&'()*+,=:@-._~")
