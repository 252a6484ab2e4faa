"""What a shell offers for the arguments of these commands: names of tunnels, hostnames, networks. Never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from click.shell_completion import CompletionItem

from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.config.credentials import DEFAULT_DIRECTORIES

if TYPE_CHECKING:
    import click

    from pyconnector.connector.cli.account.client import ApiClient

#: Seconds that somebody waits for what a shell offers.
PATIENCE = 2.0
#: Objects that are asked for, and files that are looked at in one directory.
MAX_OBJECTS = 1000
NOTHING, TUNNELS, HOSTNAMES, NETWORKS, ROUTES = "", "tunnels", "hostnames", "networks", "routes"
#: A text to offer, and what stands beside it.
Offer = tuple[str, str]


def offering(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what completes an argument or, with several kinds, the arguments in their order; the last goes on."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = context.params.get(parameter.name or "") if parameter.nargs == -1 else None
        kind = kinds[min(len(given or ()), len(kinds) - 1)] if kinds else NOTHING
        found = _offers(context, kind, incomplete)
        return [
            CompletionItem(text, help=about or None) for text, about in found if text and text.startswith(incomplete)
        ]

    return complete


def _offers(context: click.Context, kind: str, incomplete: str) -> list[Offer]:
    if kind == NOTHING:
        return []
    from pyconnector.connector.cli.account.client import ApiError
    from pyconnector.connector.cli.account.command import Account

    given: dict[str, Any] = {"origincert": "", "api_url": "", **context.params}
    directory = None
    try:
        account = Account(context, given, timeout=PATIENCE)
        directory = account.directory
        return list(_ASKED[kind](account.client, incomplete))
    except (CommandFailed, ApiError):
        return list(_of_files(directory)) if kind == TUNNELS else []


def _tunnels(client: ApiClient, incomplete: str) -> Iterator[Offer]:
    for row in _rows(client, client.account("cfd_tunnel"), is_deleted="false"):
        yield _text(row, "name"), _text(row, "id")
        if incomplete:  # ids are long: for who has begun one
            yield _text(row, "id"), _text(row, "name")


def _hostnames(client: ApiClient, _: str) -> Iterator[Offer]:
    for row in _rows(client, client.zone("dns_records")):
        yield _text(row, "name"), _text(row, "content")


def _networks(client: ApiClient, _: str) -> Iterator[Offer]:
    for row in _rows(client, client.account("teamnet/virtual_networks"), is_deleted="false"):
        yield _text(row, "name"), _text(row, "comment")


def _routes(client: ApiClient, _: str) -> Iterator[Offer]:
    for row in _rows(client, client.account("teamnet/routes"), is_deleted="false"):
        yield _text(row, "network"), _text(row, "tunnel_name")


_ASKED: dict[str, Callable[[ApiClient, str], Iterator[Offer]]] = {
    TUNNELS: _tunnels, HOSTNAMES: _hostnames, NETWORKS: _networks, ROUTES: _routes,
}  # fmt: skip


def _rows(client: ApiClient, path: str, **query: str) -> list[dict[str, Any]]:
    rows = client.call("list", "GET", path, per_page=str(MAX_OBJECTS), **query)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    # A shell reads lines: what would end one, or do something to a terminal, is not offered.
    return value if isinstance(value, str) and value.isprintable() else ""


def _of_files(beside: Path | None) -> Iterator[Offer]:
    """Offer the ids of tunnels whose credentials are on this machine."""
    places = [Path(directory).expanduser() for directory in DEFAULT_DIRECTORIES]
    seen: set[str] = set()
    for directory in [*([beside] if beside is not None else []), *places]:
        try:
            paths = sorted(directory.glob("*.json"))[:MAX_OBJECTS]
        except OSError:
            continue
        for path in paths:
            try:
                name = str(UUID(path.stem))
            except ValueError:
                continue
            if name not in seen:
                seen.add(name)
                yield name, str(path)
