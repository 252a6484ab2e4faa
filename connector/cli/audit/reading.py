"""Reads audit logs for people: checks the chain, shows the last records, finds some."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.audit.conditions import ConditionError, fits, parse_condition, parse_moment
from pyconnector.connector.cli.audit.lines import Follower, is_being_written, last_records, parsed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.config import Problem
from pyconnector.edge.audit.files import AuditError, CutOff, log_files, read_log
from pyconnector.ingress.config.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyconnector.connector.cli.audit.conditions import Condition

#: Exit code where a log does not hold.
BROKEN = 1
#: Seconds between two looks at a log that is followed.
LOOK_AGAIN = 0.2


def verify(places: tuple[str, ...], last: str) -> int:
    """Check a whole log; return the exit code.

    Raises:
        ConfigError: there is no log.
    """
    paths = _files(places)
    count, chain, first, found = 0, "", 0, not last
    try:
        for place, link in read_log(paths):
            chain = link.chain
            found = found or chain == last
            count += "AuditFile" not in link.record
            if place.path == paths[0] and place.line == 1:
                first = int(link.record.get("AuditFile", 1))
    except CutOff as error:
        # The line that is being written now is no damage.
        if not (error.place.path == paths[-1] and is_being_written(paths[-1].parent)):
            click.echo(f"The audit log does not hold. {error}", err=True)
            return BROKEN
    except AuditError as error:
        click.echo(f"The audit log does not hold. {error}", err=True)
        return BROKEN
    if last and not found:
        click.echo(f"The audit log does not hold. No line of it has the digest {last}: lines are missing.", err=True)
        return BROKEN
    if last and chain != last and not is_being_written(paths[-1].parent):
        click.echo(f"Lines were added behind the digest that was given; the last one is {chain}.", err=True)
    if first > 1:
        click.echo(f"It begins with file {first}: what was before is not here.", err=True)
    click.echo(f"The audit log holds: {count} records, last digest {chain}")
    return CLEAN


def tail(places: tuple[str, ...], lines: int, *, follow: bool, as_json: bool, conditions: tuple[str, ...] = ()) -> int:
    """Show the last records that fit, and with `follow` those that come; return the exit code.

    Raises:
        ConfigError: there is no log, or a condition is none.
    """
    wanted = _conditions(conditions)
    paths = _files(places)
    follower = Follower(paths)
    if wanted:
        shown: Sequence[dict[str, Any]] = [record for record in _records(paths) if fits(record, wanted)][-lines:]
        shown = shown if lines else []
    else:
        shown = last_records(paths, lines)
    for record in shown:
        _show(record, as_json=as_json)
    while follow:
        time.sleep(LOOK_AGAIN)
        for record in follower.new(_files(places)):
            if fits(record, wanted):
                _show(record, as_json=as_json)
    return CLEAN


def search(
    places: tuple[str, ...], conditions: tuple[str, ...], *, as_json: bool, since: str = "", until: str = ""
) -> int:
    """Show the records that fit; return the exit code.

    Raises:
        ConfigError: there is no log, or a condition is none.
    """
    wanted = _conditions(conditions)
    begin, end = (_moment(text) if text else "" for text in (since, until))
    seen: set[str] = set()
    found = False
    for record in _records(_files(places)):
        seen |= record.keys()
        if fits(record, wanted, begin, end):
            found = True
            _show(record, as_json=as_json)
    for condition in wanted if not found else ():
        if condition.field not in seen:
            meant = closest(condition.field, seen)
            hint = f"; did you mean {meant}?" if meant else "."
            click.echo(f"No record has a field {condition.field}{hint}", err=True)
    return CLEAN


def _conditions(texts: tuple[str, ...]) -> list[Condition]:
    try:
        return [parse_condition(text) for text in texts]
    except ConditionError as error:
        raise ConfigError([Problem(message=f"--where {error}")]) from None


def _moment(text: str) -> str:
    try:
        return parse_moment(text, datetime.datetime.now(datetime.UTC))
    except ConditionError as error:
        raise ConfigError([Problem(message=str(error))]) from None


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
            yield from parsed(file)


def _show(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record))
        return
    if "AuditRecordsLost" in record:
        click.echo(f"{record['Datetime']}  {record['AuditRecordsLost']} records were lost before this")
        return
    # Of what a visitor chose nothing may move the cursor of whoever looks.
    line = "  ".join((record["Datetime"], _said(record, "SourceIP"), _who(record), _what(record), _verdict(record)))
    click.echo("".join(character if character.isprintable() else "?" for character in line))


def _who(record: dict[str, Any]) -> str:
    return _said(record, "Email", "ServiceTokenName", "ClaimedUser") or "-"


def _what(record: dict[str, Any]) -> str:
    if "HTTPHost" in record:
        return f"{_said(record, 'HTTPMethod', 'Protocol')} {_said(record, 'HTTPHost')}{_said(record, 'URL')}"
    port = _said(record, "OriginPort")
    return f"{_said(record, 'Protocol')} {_said(record, 'RequestedHost', 'OriginIP')}{':' + port if port else ''}"


def _verdict(record: dict[str, Any]) -> str:
    told = (_said(record, "Action"), _said(record, "HTTPStatusCode", "ConnectionCloseReason"), _said(record, "Reason"))
    return " ".join(each for each in told if each)


def _said(record: dict[str, Any], *names: str) -> str:
    return next((str(record[name]) for name in names if record.get(name) not in (None, "", 0)), "")
