"""Each test of the control plane runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pyconnector.control.discovery import edges
from pyconnector.control.settings import DATABASE_FILE
from pyconnector.control.store.access import keys
from pyconnector.control.store.database import Database, sqlite_url
from pyconnector.control.store.migrate import migrate
from pyconnector.control.store.objects import connections, live
from tests.control.support import Mesh, NewMesh, open_mesh
from tests.support.services.postgres import running_postgres

#: More than any one test makes, so that the keys of a test differ.
KEYS = 12


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    with running_postgres() as port:
        yield port


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the present schema and nothing in it: copying it is quicker than making one."""
    file = tmp_path_factory.mktemp("schema") / DATABASE_FILE
    asyncio.run(_with_schema(sqlite_url(file)))
    return file


@pytest.fixture(scope="session")
def empty_postgres(postgres_port: int) -> str:
    """The name of a database of `postgres_port` with the present schema and nothing in it, to be copied."""
    with _postgres(postgres_port) as session:
        session.execute("CREATE DATABASE empty")
    asyncio.run(_with_schema(f"postgresql://pyconnector@127.0.0.1:{postgres_port}/empty"))
    return "empty"


async def _with_schema(url: str) -> None:
    database = Database(url)
    await migrate(database)
    await database.close()


def _postgres(port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(f"host=127.0.0.1 port={port} user=pyconnector dbname=postgres", autocommit=True)


_KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=_KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database with the present schema and nothing in it; empty for a SQLite file in the data
    directory `tmp_path / "data"`.
    """
    if request.param == "sqlite":
        (tmp_path / "data").mkdir(mode=0o700)
        shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "data")
        yield ""
        return
    empty = request.getfixturevalue("empty_postgres")
    with _new_database(request.getfixturevalue("postgres_port"), f"TEMPLATE {empty} STRATEGY WAL_LOG") as url:
        yield url


@pytest.fixture(params=_KINDS)
def bare_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database without a schema; empty for SQLite, where the file is not there yet."""
    if request.param == "sqlite":
        yield ""
        return
    with _new_database(request.getfixturevalue("postgres_port")) as url:
        yield url


@contextlib.contextmanager
def _new_database(port: int, options: str = "") -> Iterator[str]:
    name = f"t{uuid.uuid4().hex}"
    with _postgres(port) as session:
        session.execute(f"CREATE DATABASE {name} {options}".encode())
    yield f"postgresql://pyconnector@127.0.0.1:{port}/{name}"
    with _postgres(port) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge that reported once counts for as long as the test takes, however busy the machine is."""
    for module in (live, connections, edges):
        monkeypatch.setattr(module, "EDGE_LIFETIME", 600.0)


@pytest.fixture(scope="session", autouse=True)
def signing_keys() -> Iterator[None]:
    """Few private keys in turn: finding the primes of new ones takes 40 ms each, twice for every control plane."""
    kept: list[rsa.RSAPrivateKey] = []
    turns = itertools.count()

    make = keys.new_private_key

    def private_key() -> rsa.RSAPrivateKey:
        turn = next(turns)
        if turn < KEYS:
            kept.append(make())
        return kept[turn % KEYS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "new_private_key", private_key)
        yield


@pytest.fixture
def new_mesh(tmp_path: Path, database: str) -> NewMesh:
    """Starts a control plane for a block: for what must be set before."""
    return partial(open_mesh, tmp_path / "data", database)


@pytest.fixture
async def mesh(tmp_path: Path, database: str) -> AsyncIterator[Mesh]:
    """A new control plane."""
    async with open_mesh(tmp_path / "data", database) as opened:
        yield opened
