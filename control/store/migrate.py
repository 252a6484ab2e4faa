"""Bring a database to the present schema, whatever earlier migration it is at. All steps are one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from pyconnector.control.store.database import WRITES
from pyconnector.control.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from pyconnector.control.store.database import Database

_SCRIPTS = Path(__file__).resolve().parent / "migrations"
#: A number that two control planes of one PostgreSQL agree on, so that one of them migrates.
_LOCK = 7_262_946_361


class SchemaTooNew(Exception):
    """The database was made by a later version of this program. Its text says so in a sentence."""


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the migrations in this folder."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Return every migration, oldest first."""
    found = ScriptDirectory.from_config(configuration()).walk_revisions()
    return [script.revision for script in found][::-1]


async def migrate(database: Database, target: str = "head") -> None:
    """Upgrade the database to `target`, as a whole or not at all. Cancel undoes it.

    Raises:
        SchemaTooNew: it has a migration that this version does not know.
        StoreUnavailable: it cannot be used.
    """
    try:
        async with database.engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            await connection.run_sync(_upgrade, target)
            await connection.commit()
    except (DBAPIError, OSError) as error:
        raise StoreUnavailable(f"The database cannot be prepared: {_cause(error)}.") from error


def _cause(error: BaseException) -> str:
    # What the driver says, without the statement and its values.
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]


def _upgrade(connection: Connection, target: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if inspect(connection).has_table("alembic_version"):
        present = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        known = revisions()
        if present == known[-1] and target == "head":
            return  # most starts: nothing to load and to compare
        if present is not None and present not in known:
            raise SchemaTooNew(
                f"the database is at migration {present}, which this version does not know: upgrade first"
            )
    command.upgrade(configuration(connection), target)
