"""A whole database as one file, of SQLite or PostgreSQL alike, and back into an empty one of either.

The file is lines of JSON, compressed: a header, then for each table its columns and its rows. It holds every secret of
the database. What only lives for moments is left out, and edges are made to take a snapshot afterwards.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData, insert, select, text
from sqlalchemy.exc import DBAPIError

from pyconnector.control.store.columns import Json, UtcTime
from pyconnector.control.store.database import WRITES
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.migrate import SchemaTooNew, migrate, revisions
from pyconnector.control.store.models import Base, Feed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Table

    from pyconnector.control.store.database import Database

FORMAT: Final = 1
#: Rows that are read or written at once.
ROWS_AT_ONCE: Final = 1_000
#: Bytes of one line of a backup.
MAX_LINE: Final = 64 * 1024 * 1024
#: By how much the number of the last change grows, so that no edge takes a change to come for one that it knows.
LEAP: Final = 1_000_000_000
#: What lives for moments: an edge reports its connections anew, and counts of logins end by themselves.
LEFT_OUT: Final = frozenset(("changes", "login_counts", "alembic_version"))


class BackupError(Exception):
    """A backup that cannot be made or used. The text is one sentence."""


async def back_up(database: Database, path: Path) -> int:
    """Write everything into a new file for its owner alone; return the number of rows. Everything is of one moment.

    The database may be in use meanwhile. Cancel leaves no file.

    Raises:
        BackupError: the file is there already, or cannot be written.
        StoreUnavailable: the database cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(f"{path} is there already") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as raw, gzip.open(raw, "wt", encoding="ascii") as file:
            count = await _write(database, file)
            file.flush()
        return count
    except OSError as error:
        _remove(path)
        raise BackupError(f"{path} cannot be written: {error.strerror or error}") from error
    except BaseException:
        _remove(path)
        raise


async def restore(database: Database, path: Path) -> int:
    """Fill an empty database from a file, and bring it up to date; return the number of rows. Cancel leaves it empty.

    Raises:
        BackupError: the file is none, of a later version, or the database is not empty.
        StoreUnavailable: the database cannot be used.
    """
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            lines = _lines(file)
            header = next(lines, None)
            migration = header.get("migration") if isinstance(header, dict) else None
            if not isinstance(header, dict) or header.get("format") != FORMAT or not isinstance(migration, str):
                raise BackupError(f"{path} is no backup of a control plane")
            if migration not in revisions():
                raise BackupError(f"{path} was made by a later version: upgrade first")
            await _prepare(database, migration)
            async with database.engine.connect() as connection:
                await connection.execution_options(**{WRITES: True})
                try:
                    count = await connection.run_sync(_fill, lines)
                except (KeyError, TypeError, ValueError) as error:
                    raise BackupError("the backup is damaged: a line in it makes no sense") from error
                await connection.commit()
            await migrate(database)
            return count
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise BackupError(f"{path} cannot be read: {reason}") from error
    except DBAPIError as error:
        raise StoreUnavailable("The database cannot be filled now.") from error


async def _write(database: Database, file: IO[str]) -> int:
    count = 0
    async with database.read() as session:
        migration = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        if migration != revisions()[-1]:
            raise BackupError("the database is of another version: start the control plane once, and try again")
        made = database.now().isoformat(timespec="seconds")
        _put(file, {"format": FORMAT, "migration": migration, "made": made})
        for table in Base.metadata.sorted_tables:
            if table.name in LEFT_OUT:
                continue
            kinds = [_kind(column.type) for column in table.columns]
            columns = [[column.name, kind] for column, kind in zip(table.columns, kinds, strict=True)]
            _put(file, {"table": table.name, "columns": columns})
            result = await session.stream(select(*table.columns).execution_options(yield_per=ROWS_AT_ONCE))
            async for part in result.partitions():
                for row in part:
                    _put(file, [_told(kind, value) for kind, value in zip(kinds, row, strict=True)])
                    count += 1
        _put(file, {"rows": count})
    return count


async def _prepare(database: Database, migration: str) -> None:
    """Make the tables as they were when the backup was made.

    Raises:
        BackupError: there is something in them, or the database is of a later version.
    """
    try:
        await migrate(database, migration)
    except SchemaTooNew as error:
        raise BackupError(str(error)) from error
    async with database.read() as session:
        present = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        if present != migration or (await session.execute(text("SELECT count(*) FROM accounts"))).scalar_one():
            raise BackupError("the database is not empty: a backup goes into a new one")


def _fill(connection: Connection, lines: Iterator[Any]) -> int:
    tables = MetaData()
    tables.reflect(connection)
    connection.execute(tables.tables["feed"].delete())  # the one row that a new database has
    table: Table | None = None
    columns: list[list[str]] = []
    rows: list[dict[str, Any]] = []
    count, whole = 0, None
    for line in lines:
        if isinstance(line, list) and table is not None and len(line) == len(columns):
            rows.append({name: _value(kind, value) for (name, kind), value in zip(columns, line, strict=True)})
            count += 1
            if len(rows) < ROWS_AT_ONCE:
                continue
        elif isinstance(line, dict) and line.get("table") in tables.tables:
            _insert(connection, table, rows)
            table, columns = tables.tables[line["table"]], line["columns"]
        elif isinstance(line, dict) and "rows" in line:
            whole = line["rows"]
        else:
            raise BackupError("the backup is damaged: a line in it makes no sense")
        if isinstance(line, list):
            _insert(connection, table, rows)
    _insert(connection, table, rows)
    if whole != count:
        raise BackupError("the backup is damaged: it ends too early")
    feed = tables.tables[Feed.__tablename__]
    connection.execute(feed.update().values(last=feed.c.last + LEAP))
    return count


def _insert(connection: Connection, table: Table | None, rows: list[dict[str, Any]]) -> None:
    if table is not None and rows:
        connection.execute(insert(table), rows)
    rows.clear()


def _lines(file: IO[str]) -> Iterator[Any]:
    while line := file.readline(MAX_LINE):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise BackupError("the backup is damaged: a line in it is no JSON") from None


def _put(file: IO[str], value: Any) -> None:
    file.write(json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n")


def _kind(column: object) -> str:
    return "moment" if isinstance(column, UtcTime) else "json" if isinstance(column, Json) else ""


def _told(kind: str, value: Any) -> Any:
    return value.isoformat() if kind == "moment" and value is not None else value


def _value(kind: str, value: Any) -> Any:
    """Return a value as the tables take it that were read from the database, and know no types of ours."""
    if value is None:
        return None
    if kind == "moment":
        return datetime.datetime.fromisoformat(value)
    return json.dumps(value, separators=(",", ":"), allow_nan=False) if kind == "json" else value


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
