"""`pyconnector ingress validate` and `ingress rule`: what a config says, without connecting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.exits import BAD_CONFIG, CLEAN
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.cli.streams import as_text
from pyconnector.connector.config import Problem, check_config, find_config
from pyconnector.connector.config.schema import file_schema
from pyconnector.ingress import explain, split_request_url
from pyconnector.ingress.config.keys.security_keys import check_somebody
from pyconnector.ingress.config.services import redacted

if TYPE_CHECKING:
    from pyconnector.identity.access_token import Identity
    from pyconnector.ingress import Rule

_NO_CONFIG = "no config file was given, and none was found in the usual places"


def validate(path: str | None, *, allow_unknown_keys: bool, as_json: bool) -> int:
    """Print every problem of a config; return the exit code.

    Raises:
        ConfigError: there is no config to look at.
    """
    path = _path(path)
    rules, problems = check_config(path, overrides_of({}), allow_unknown_keys=allow_unknown_keys)
    wrong = rules is None or any(not problem.warning for problem in problems)
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "problems": [_as_json(problem) for problem in problems]}, indent=2))
        return BAD_CONFIG if wrong else CLEAN
    for problem in problems:
        click.echo(f"warning: {problem}" if problem.warning else str(problem), err=True)
    if wrong:
        return BAD_CONFIG
    click.echo(f"Validating rules from {path}\nOK")
    return CLEAN


def show_rule(path: str | None, url: str, who: tuple[str, ...] = ()) -> int:
    """Print the rule that a request for `url` meets, and why none before it; return the exit code.

    `who` says of whom it is: entries as a rule's `identity` has them.

    Raises:
        ConfigError: the config, the URL or who asks cannot be used.
    """
    path = _path(path)
    rules, problems = check_config(path, overrides_of({}))
    if rules is None or any(not problem.warning for problem in problems):
        raise ConfigError(problems)
    try:
        host, decoded = split_request_url(as_text(url))
        identity = _identity_of(who)
    except ValueError as error:
        raise ConfigError([Problem(message=str(error))]) from error
    explanation = explain(rules.ingress, host, decoded, identity)
    click.echo(f"Using rules from {path}\nMatched rule #{explanation.match.index}")
    _show(explanation.match.rule)
    for index in explanation.match.guards:
        click.echo(f"Needs the access of rule #{index} too: a service may take this path for one that it guards")
    for verdict in explanation.verdicts[:-1]:
        click.echo(f"Not rule #{verdict.index}: {verdict.reason}")
    if not who and any(verdict.rule.identity for verdict in explanation.verdicts):
        click.echo("That is for somebody with no verified identity; say who asks with --as, as in --as role:reader")
    return CLEAN


def _identity_of(who: tuple[str, ...]) -> Identity | None:
    if not who:
        return None
    from pyconnector.identity.access_token import Identity  # costs the JOSE library

    values: dict[str, list[str]] = {}
    for entry in who:
        check_somebody(entry)
        kind, _, value = entry.partition(":")
        values.setdefault(kind, []).append(value)
    if "email" in values and len(values) > 1:
        raise ValueError("a request is a person's (email:) or a service token's, not of both")
    if twice := next((kind for kind, found in values.items() if kind != "label" and len(found) > 1), ""):
        raise ValueError(f"one asks with one {twice}; only label: may be given several times")
    first = {kind: found[0] for kind, found in values.items()}
    return Identity(
        kind="user" if "email" in values else "service", name=first.get("email", first.get("token", "")), subject="",
        expires=0.0, role=first.get("role", ""), labels=frozenset(values.get("label", ())),
        token_name=first.get("name", ""),
    )  # fmt: skip


def show_schema() -> int:
    """Print the JSON schema of a config file; return the exit code."""
    click.echo(json.dumps(file_schema(), indent=2))
    return CLEAN


def _path(path: str | None) -> str:
    found = path or find_config()
    if found is None:
        raise ConfigError([Problem(message=_NO_CONFIG)])
    return found


def _show(rule: Rule) -> None:
    if rule.hostname:
        click.echo(f"\thostname: {rule.hostname}")
    if rule.path:
        click.echo(f"\tpath: {rule.path}")
    if rule.identity:
        click.echo(f"\tidentity: {', '.join(rule.identity)}")
    click.echo(f"\tservice: {redacted(rule.service)}")


def _as_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": list(problem.path),
        "message": problem.message,
        "suggestion": problem.suggestion,
        "severity": "warning" if problem.warning else "error",
    }
