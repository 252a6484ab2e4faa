"""`tunnel rule ...`, a group of our own; what each command does is in `rules`."""

from __future__ import annotations

from typing import Any

import click

from pyconnector.connector.cli.account.command import Account, command, show_help
from pyconnector.connector.cli.account.errors import CommandFailed

_FIELDS = (
    "tokens",
    "roles",
    "labels",
    "emails",
    "email_domains",
    "networks",
    "names",
    "ports",
    "protocols",
    "virtual_networks",
)
_TOKEN_FILE = click.option("--api-token-file", "token_file", envvar="PYCONNECTOR_API_TOKEN_FILE", metavar="FILE",
                           help="An API token, in place of that of cert.pem.")  # fmt: skip


def _many(flag: str, field: str, metavar: str, text: str) -> Any:
    return click.option(flag, field, multiple=True, metavar=metavar, help=f"{text} Repeatable.")


@click.group("rule", invoke_without_command=True)
@click.pass_context
def rule_group(context: click.Context) -> None:
    """Network rules: who may reach which private destination."""
    show_help(context)


@command(
    rule_group, "add",
    click.option("--name", metavar="NAME", help="What to call it."),
    _many("--token", "tokens", "TOKEN", "A service token, by client id, id or name."),
    _many("--role", "roles", "ROLE", "A role of service tokens."),
    _many("--label", "labels", "LABEL", "A label of service tokens; one is enough."),
    _many("--email", "emails", "ADDRESS", "A person."),
    _many("--email-domain", "email_domains", "DOMAIN", "People whose addresses end so."),
    _many("--network", "networks", "CIDR", "A network."),
    _many("--private-name", "names", "NAME", "A private name, perhaps *.suffix."),
    _many("--port", "ports", "PORT|FIRST-LAST", "Ports."),
    _many("--protocol", "protocols", "tcp|udp|icmp", "A protocol."),
    _many("--vnet", "virtual_networks", "NAME", "A virtual network."),
    click.option("--precedence", type=click.IntRange(0, 2**31 - 1), help="Lower ones are asked first."),
    click.option("--disabled", is_flag=True, help="Pass it over until it is enabled."),
    _TOKEN_FILE,
)  # fmt: skip
def rule_add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Make a rule: allow or block. What is left out means any."""
    if len(words) != 1 or words[0] not in ("allow", "block"):
        raise CommandFailed("You must supply exactly one argument, allow or block")
    from pyconnector.connector.cli.account import rules

    rule: dict[str, Any] = {"action": words[0], "enabled": not given["disabled"]}
    rule |= {field: list(given[field]) for field in _FIELDS if given[field]}
    rule |= {field: given[field] for field in ("name", "precedence") if given[field] is not None}
    rules.add_rule(_client(context, given), rule, form=given["form"])


@command(rule_group, "list", _TOKEN_FILE)
def rule_list_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """List rules in the order in which they are asked."""
    if words:
        raise CommandFailed("`rule list` takes no arguments")
    from pyconnector.connector.cli.account import rules

    rules.list_rules(_client(context, given), given["form"])


@command(rule_group, "delete", _TOKEN_FILE)
def rule_delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a rule: its id or its name."""
    if len(words) != 1:
        raise CommandFailed("You must supply exactly one argument, the ID or name of the rule you want to delete")
    from pyconnector.connector.cli.account import rules

    rules.delete_rule(_client(context, given), words[0], form=given["form"])


def _client(context: click.Context, given: dict[str, Any]) -> Any:
    from pyconnector.connector.cli.grant.granting import client_of

    return client_of(Account(context, given).client, given["token_file"])
