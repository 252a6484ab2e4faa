"""One database: SQLite in a file, or PostgreSQL; read and write transactions that mean the same on both."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm.exc import StaleDataError

from pyconnector.control.store.errors import Conflict, StoreUnavailable
from pyconnector.control.store.models import Feed
from pyconnector.control.store.work import Actor, Work

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

#: Seconds that a writer waits for another one.
BUSY_TIMEOUT = 10.0
#: Connections to PostgreSQL at once.
POOL_SIZE = 8
#: Times that a write is tried which others were quicker than.
MAX_ATTEMPTS = 10
#: Seconds after which it is looked again how far this machine's clock is from PostgreSQL's.
MEASURE_AGAIN = 30.0
#: Option of a connection whose transactions will write.
WRITES = "pyconnector_writes"
#: SQLSTATEs of PostgreSQL that mean: try the same again.
_TRY_AGAIN = {"40001", "40P01", "55P03"}

Result = TypeVar("Result")


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


def parse_database_url(text: str) -> URL:
    """Return the database that a user names: `postgresql://...` or `sqlite:///FILE`.

    Raises:
        ValueError: it is neither. The sentence does not repeat it, since it may hold a password.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("the database is named like postgresql://user@host/name or sqlite:///file") from None
    kind = url.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+asyncpg")
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+aiosqlite")
    raise ValueError("the database is PostgreSQL (postgresql://...) or a SQLite file (sqlite:///...)")


class Database:
    """An engine with sessions for reading and for writing."""

    def __init__(self, url: str) -> None:
        self.url = parse_database_url(url)
        self.is_postgresql = self.url.drivername.startswith("postgresql")
        self.engine: AsyncEngine = _postgresql(self.url) if self.is_postgresql else _sqlite(self.url)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._clock = machine_clock
        self._offset = datetime.timedelta()
        self._measured: float | None = None
        self.on_commit: list[Callable[[], None]] = []
        "Called after each write that edges must learn of."

    def __repr__(self) -> str:
        return f"<Database {self.url.get_backend_name()}>"

    def now(self) -> datetime.datetime:
        """Return the moment by the clock that everybody who shares this database goes by: that of PostgreSQL.

        By this machine's alone a control plane whose clock is an hour off would take the edges of all others for dead.
        """
        return self._clock() + self._offset

    async def close(self) -> None:
        """Close every connection. Cancel leaves some open."""
        await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the database, and changes nothing. Cancel ends its transaction.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        try:
            async with self._sessions() as session:
                if self.is_postgresql:
                    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                    await session.connection(execution_options=options)
                yield session
        except (OperationalError, InterfaceError, OSError) as error:
            raise StoreUnavailable("The database cannot be read now.") from error

    async def write(
        self, actor: Actor, operation: Callable[[Work], Awaitable[Result]], *, in_turn: bool = True
    ) -> Result:
        """Run `operation` in a transaction, with its audit records and changes, and return what it returns.

        It is run again where another write got in between, so nothing is lost; it must do nothing but use its Work.
        Cancel undoes it all, unless the database has it already. Writes that publish changes are made one at a time;
        what is not `in_turn` publishes none, and only finds its rows unchanged or is run again.

        Raises:
            Conflict: others were quicker every time.
            StoreError: `operation` raised it; nothing is changed.
            StoreUnavailable: the database cannot be used.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._attempt(actor, operation, in_turn=in_turn)
            except StaleDataError:
                continue
            except IntegrityError as error:
                # The operation looked first, so whoever made the twin did it meanwhile: look again.
                if _is_last_resort(error):
                    raise
                continue
            except (OperationalError, InterfaceError, DBAPIError) as error:
                if getattr(error.orig, "sqlstate", None) in _TRY_AGAIN:
                    continue
                raise StoreUnavailable("The database cannot be written now.") from error
            except OSError as error:
                raise StoreUnavailable("The database cannot be reached now.") from error
        raise Conflict("Others change the same object all the time; try again.", 1009)

    async def _attempt(self, actor: Actor, operation: Callable[[Work], Awaitable[Result]], *, in_turn: bool) -> Result:
        async with self._sessions() as session:
            await session.connection(execution_options={WRITES: True})
            if in_turn and self.is_postgresql:
                # As BEGIN IMMEDIATE does: a dozen edits of one object at once would overtake each other for long.
                await session.execute(select(Feed.last).where(Feed.id == 1).with_for_update())
            if self.is_postgresql:
                await self._measure(session)
            work = Work(session, actor, self.now())
            result = await operation(work)
            await work.finish(notify=self.is_postgresql)
            await session.commit()
        if work.published:
            for tell in self.on_commit:
                tell()
        return result

    async def _measure(self, session: AsyncSession) -> None:
        """Look how far this machine's clock is from the database's, unless that was done a moment ago."""
        moment = time.monotonic()
        if self._measured is None or moment - self._measured >= MEASURE_AGAIN:
            shown = (await session.execute(select(func.clock_timestamp()))).scalar_one()
            self._offset, self._measured = shown - self._clock(), moment


def machine_clock() -> datetime.datetime:
    """Return the moment by this machine's clock."""
    return datetime.datetime.now(datetime.UTC)


def _is_last_resort(error: IntegrityError) -> bool:
    return "foreign key" in str(error.orig).lower()


def _postgresql(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT,
        pool_pre_ping=True,
        connect_args={"timeout": BUSY_TIMEOUT, "server_settings": {"lock_timeout": str(int(BUSY_TIMEOUT * 1000))}},
    )


def _sqlite(url: URL) -> AsyncEngine:
    path = Path(str(url.database))
    if not path.exists():
        # For its owner alone from its first moment: it holds the secrets of tunnels. Its log inherits the mode.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT})

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # The driver begins transactions by itself, too late for reads to see one state: it is told not to.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its turn at once: one that read first and then wants to write could only fail.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
