"""`mesh backup` and `mesh restore`: the database of a control plane as one file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.config import Problem


def run_backup(file: str, given: Mapping[str, Any]) -> int:
    """Write a backup; return the exit code.

    Raises:
        ConfigError: a flag cannot be used, or the extra is not installed.
        StartFailed: it cannot be made.
    """
    return _run(file, given, is_restore=False)


def run_restore(file: str, given: Mapping[str, Any]) -> int:
    """Fill an empty database from a backup; return the exit code.

    Raises:
        ConfigError: a flag cannot be used, or the extra is not installed.
        StartFailed: it cannot be used.
    """
    return _run(file, given, is_restore=True)


def _run(file: str, given: Mapping[str, Any], *, is_restore: bool) -> int:
    try:
        from pyconnector.control.files import make_directory
        from pyconnector.control.settings import DATABASE_FILE, ControlPlaneSettings, SettingsError
        from pyconnector.control.store.backup import BackupError, back_up, restore
        from pyconnector.control.store.database import Database
        from pyconnector.control.store.errors import StoreUnavailable
    except ImportError as error:
        raise ConfigError([Problem(message=f"this needs the extra `mesh`: {error.name} is not installed")]) from error
    data = Path(given["data_dir"]).expanduser().absolute()
    try:
        settings = ControlPlaneSettings(data_directory=data, database=given["database"])
    except SettingsError as error:
        raise ConfigError([Problem(message=str(error))]) from error
    file_of = data / DATABASE_FILE
    if not is_restore and not given["database"] and not file_of.exists():
        raise StartFailed(f"{file_of} is not there: --data-dir or --database says which control plane is meant")

    place = Path(file).expanduser()

    async def work() -> int:
        if is_restore:
            make_directory(data)
        database = Database(settings.database_url)
        try:
            if is_restore:
                return await restore(database, place)
            return await back_up(database, place)
        finally:
            await database.close()

    try:
        count = asyncio.run(work())
    except (BackupError, StoreUnavailable) as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        raise StartFailed(f"{error.filename or data} cannot be used: {error.strerror or error}") from error
    click.echo(f"{count} rows {'restored from' if is_restore else 'written to'} {file}")
    return CLEAN
