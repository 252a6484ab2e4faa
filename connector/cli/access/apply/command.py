"""Runs the command: reads files, shows the plan, asks, and carries it out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.access.apply.carry_out import CarryOut
from pyconnector.connector.cli.access.apply.current import read_current
from pyconnector.connector.cli.access.apply.files import read_files
from pyconnector.connector.cli.access.apply.plan import make_plan
from pyconnector.connector.cli.access.apply.show import plain, plan_lines
from pyconnector.connector.cli.access.apply.wanted import SECTIONS
from pyconnector.connector.cli.account.client import ApiClient, ApiError
from pyconnector.connector.cli.account.command import Account
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.config.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Exit code of `--dry-run` where something is other than the files want it.
DIFFERENT = 3
TOKEN_VARIABLE = "PYCONNECTOR_API_TOKEN"
_MAX_TOKEN = 4096


def apply(context: click.Context, files: Sequence[str], given: Mapping[str, Any]) -> int:
    """Make what there is as the files want it; return the exit code.

    Raises:
        ConfigError: a file makes no sense, or refers to what is not there.
        StartFailed: the API cannot be asked, or a step failed.
    """
    wanted = read_files(files)
    for correction in wanted.corrections:
        click.echo(plain(f"note: {correction}"), err=True)
    pruned = _pruned(given["prune"], wanted.sections)
    if not wanted.items and not pruned:
        raise ConfigError([Problem(message="the files want nothing")])
    try:
        client = _client(context, given)
        current = read_current(client, wanted.kinds | pruned)
        plan = make_plan(wanted, current, pruned, send_secrets=given["send_secrets"])
        for line in plan_lines(plan, current):
            click.echo(line)
        if given["dry_run"]:
            return CLEAN if plan.is_empty else DIFFERENT
        if plan.is_empty:
            return CLEAN
        if not given["yes"] and not _agreed():
            return CLEAN
        directory = Path(given["secrets_dir"]).expanduser() if given["secrets_dir"] else None
        CarryOut(client, current, directory).run(plan)
    except (ApiError, CommandFailed) as error:
        raise StartFailed(plain(str(error))) from error
    except OSError as error:
        raise StartFailed(f"{given['secrets_dir']} cannot be used: {error.strerror or error}") from error
    return CLEAN


def _pruned(asked: Sequence[str], sections: set[str]) -> set[str]:
    """Return the kinds of which what is in no file is to be deleted.

    Raises:
        ConfigError: a section is named that no file has: everything would go.
    """
    names = sections if "all" in asked else set(asked)
    if missing := sorted(names - sections):
        text = f"--prune {missing[0]}: no file has that section; an empty one, `{missing[0]}: []`, deletes all of them"
        raise ConfigError([Problem(message=text)])
    return {kind for name in names for kind in SECTIONS[name]}


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise StartFailed("nobody can be asked here: --yes applies the plan, --dry-run only shows it")
    return click.confirm("Apply it?", default=False)


def _client(context: click.Context, given: Mapping[str, Any]) -> ApiClient:
    token = os.environ.get(TOKEN_VARIABLE, "")
    if given["api_token_file"]:
        try:
            with Path(given["api_token_file"]).expanduser().open("rb") as file:
                token = file.read(_MAX_TOKEN).decode("ascii", "replace").strip()
        except OSError as error:
            raise StartFailed(f"{given['api_token_file']} cannot be read: {error.strerror or error}") from None
    if not token:
        return Account(context, dict(given)).client
    url = given["api_url"] or os.environ.get("TUNNEL_API_URL") or Account(context, dict(given)).client.base_url
    client = ApiClient(base_url=str(url), token=token, account_id="", zone_id="")
    accounts = [str(row["id"]) for row in client.pages("list accounts", "/accounts")]
    wanted = given["account"] or (accounts[0] if len(accounts) == 1 else "")
    if wanted not in accounts:
        raise StartFailed(f"--account ID says which account is meant: {', '.join(accounts) or 'the token has none'}")
    client.account_id = wanted
    return client
