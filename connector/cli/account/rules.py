"""Network rules of a control plane of ours: `tunnel rule`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiClient, ApiError
from pyconnector.connector.cli.account.errors import CommandFailed

_COLUMNS = ("ID", "PRECEDENCE", "NAME", "ACTION", "WHO", "WHERE", "PORTS", "ENABLED")


def add_rule(client: ApiClient, rule: dict[str, Any], *, form: str = "") -> None:
    """Make a rule.

    Raises:
        CommandFailed: it makes no sense, or could not be made.
    """
    output.check_form(form)
    tokens = rule.get("tokens", ())
    if tokens:
        rule = rule | {"tokens": [_client_id(client, token) for token in tokens]}
    made = _call(client, "add network rule", "POST", "", rule)
    if form:
        output.print_structured(form, made, made)
    else:
        click.echo(f"Successfully added network rule with ID {made['id']}, which is asked at {made['precedence']}")


def list_rules(client: ApiClient, form: str) -> None:
    """Print rules in the order in which they are asked.

    Raises:
        CommandFailed: they could not be had.
    """
    output.check_form(form)
    rows = _rules(client)
    if form:
        output.print_structured(form, rows, rows)
    elif rows:
        click.echo(output.table(_COLUMNS, [_cells(row) for row in rows]), nl=False)
    else:
        click.echo("There are no network rules, so nobody may reach anything.")


def delete_rule(client: ApiClient, named: str, *, form: str = "") -> None:
    """Delete a rule, by its id or its name; flows that it alone allowed end.

    Raises:
        CommandFailed: there is not exactly one.
    """
    output.check_form(form)
    found = [row for row in _rules(client) if named in (row["id"], row.get("name"))]
    if len(found) != 1:
        number = "no network rule" if not found else f"{len(found)} network rules"
        raise CommandFailed(f"there is {number} {named}" if not found else f"there are {number} {named}: give an id")
    rule_id = str(found[0]["id"])
    _call(client, "delete network rule", "DELETE", "/" + quote(rule_id, safe=""), None)
    if form:
        output.print_structured(form, {"id": rule_id}, {"id": rule_id})
    else:
        click.echo(f"Successfully deleted network rule with ID {rule_id}")


def _rules(client: ApiClient) -> list[dict[str, Any]]:
    try:
        return client.pages("list network rules", client.account("network_rules"))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to list network rules: {error}") from None


def _call(client: ApiClient, operation: str, method: str, path: str, body: object) -> Any:
    try:
        return client.call(operation, method, client.account("network_rules") + path, body)
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to {operation}: {error}") from None


def _client_id(client: ApiClient, token: str) -> str:
    """Return the client id of a service token that is named by it, by its id, or by its name."""
    if token.endswith(".access"):
        return token
    try:
        rows = client.pages("list service tokens", client.account("access/service_tokens"))
    except ApiError as error:
        raise CommandFailed(f"API error: Failed to look for the service token {token}: {error}") from None
    found = [row for row in rows if token in (row["id"], row["name"])]
    if len(found) != 1:
        raise CommandFailed(f"there should be 1 service token {token}, and there are {len(found)}")
    return str(found[0]["client_id"])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    who = [*row.get("tokens", ()), *(f"role {role}" for role in row.get("roles", ())), *row.get("labels", ())]
    who += [*row.get("emails", ()), *(f"@{domain}" for domain in row.get("email_domains", ()))]
    where = [*row.get("networks", ()), *row.get("names", ())]
    ports = [f"{protocol}" for protocol in row.get("protocols", ())] + [str(port) for port in row.get("ports", ())]
    return (
        row["id"], str(row["precedence"]), row.get("name") or "", row["action"], ",".join(who) or "any",
        ",".join(where) or "any", ",".join(ports) or "any", str(row["enabled"]).lower(),
    )  # fmt: skip
