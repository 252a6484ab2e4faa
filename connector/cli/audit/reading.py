"""Reads audit logs for people: checks the chain, shows the last records, finds some."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.config import Problem
from pyconnector.edge.audit.files import AuditError, log_files, read_log

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Exit code where a log does not hold.
BROKEN = 1
#: Seconds between two looks at a log that is followed.
LOOK_AGAIN = 0.2


def verify(places: tuple[str, ...], last: str) -> int:
    """Check a whole log; return the exit code.

    Raises:
        ConfigError: there is no log.
    """
    count, chain = 0, ""
    try:
        for _, link in read_log(_files(places)):
            chain = link.chain
            count += "AuditFile" not in link.record
    except AuditError as error:
        click.echo(f"The audit log does not hold. {error}", err=True)
        return BROKEN
    if last and last != chain:
        click.echo(f"The audit log does not hold. Its last digest is {chain}, not {last}: lines are missing.", err=True)
        return BROKEN
    click.echo(f"The audit log holds: {count} records, last digest {chain}")
    return CLEAN


def tail(places: tuple[str, ...], lines: int, *, follow: bool, as_json: bool) -> int:
    """Show the last records, and with `follow` those that come; return the exit code.

    Raises:
        ConfigError: there is no log.
    """
    for record in deque(_records(_files(places)), maxlen=lines):
        _show(record, as_json=as_json)
    if not follow:
        return CLEAN
    seen = {path: path.stat().st_size for path in _files(places)}
    while True:
        time.sleep(LOOK_AGAIN)
        for path in _files(places):
            with path.open("rb") as file:
                file.seek(seen.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            seen[path] = seen.get(path, 0) + len(whole)
            for record in _parsed(whole.splitlines()):
                _show(record, as_json=as_json)


def search(places: tuple[str, ...], conditions: tuple[str, ...], *, as_json: bool) -> int:
    """Show the records that fit; return the exit code.

    Raises:
        ConfigError: there is no log, or a condition is none.
    """
    wanted = []
    for condition in conditions:
        name, equals, pattern = condition.partition("=")
        if not equals or not name:
            raise ConfigError([Problem(message=f"--where {condition!r} is not FIELD=VALUE")])
        wanted.append((name, pattern))
    for record in _records(_files(places)):
        if all(fnmatchcase(_text(record.get(name)), pattern) for name, pattern in wanted):
            _show(record, as_json=as_json)
    return CLEAN


def _files(places: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for place in map(Path, places):
        try:
            found += log_files(place) if place.is_dir() else [place]
        except AuditError as error:
            raise ConfigError([Problem(message=str(error))]) from error
        if not place.exists():
            raise ConfigError([Problem(message=f"there is no {place}")])
    if not found:
        raise ConfigError([Problem(message=f"there is no audit log in {', '.join(places)}")])
    return found


def _records(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with path.open("rb") as file:
            yield from _parsed(file)


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line being written, or damage that `verify` tells of
        if isinstance(record, dict) and "Datetime" in record:
            yield record


def _show(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record))
        return
    if "AuditRecordsLost" in record:
        click.echo(f"{record['Datetime']}  {record['AuditRecordsLost']} records were lost before this")
        return
    who = record.get("ServiceTokenName", "-")
    if "RequestedHost" in record:  # a flow of the private network
        what = f"{record.get('Protocol')} {record['RequestedHost']}:{record.get('OriginPort')}"
        told = f"{record.get('Action')} {record.get('ConnectionCloseReason')} {record.get('Reason')}"
    else:
        what = f"{record.get('HTTPMethod') or record.get('Protocol')} {record.get('HTTPHost')}{record.get('URL')}"
        told = f"{record.get('Action')} {record.get('HTTPStatusCode')} {record.get('Reason')}"
    # Of what a visitor chose nothing may move the cursor of whoever looks.
    line = f"{record['Datetime']}  {record.get('SourceIP')}  {who}  {what}  {told}"
    click.echo("".join(character if character.isprintable() else "?" for character in line))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
