"""Each test of the control plane runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.control.support import Mesh, open_mesh, with_mesh
from tests.support.services.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    with running_postgres() as port:
        yield port


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database; empty for a SQLite file in the data directory."""
    if request.param == "sqlite":
        yield ""
        return
    port = request.getfixturevalue("postgres_port")
    name = f"t{uuid.uuid4().hex}"
    server = f"host=127.0.0.1 port={port} user=pyconnector"
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}")
    yield f"postgresql://pyconnector@127.0.0.1:{port}/{name}"
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def on_mesh(tmp_path: Path, database: str) -> Callable[[Any], None]:
    """Runs a coroutine function that takes a Mesh."""
    return partial(with_mesh, tmp_path, database)


@pytest.fixture
async def mesh(tmp_path: Path, database: str) -> AsyncIterator[Mesh]:
    """A new control plane."""
    async with open_mesh(tmp_path / "data", database) as opened:
        yield opened
