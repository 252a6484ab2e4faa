"""What edges are told: everything at once, or what changed since; and how they wait for the next change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import func, select

from pyconnector.control.store.access.feed_kinds import ACCESS_KINDS
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.logs import logpush
from pyconnector.control.store.logs.tables import LogpushJob
from pyconnector.control.store.models import (
    Change,
    DnsRecord,
    Feed,
    HostnameRoute,
    IpRoute,
    Setting,
    Tunnel,
    VirtualNetwork,
)
from pyconnector.control.store.objects import dns, hostname_routes, ip_routes, tunnels, virtual_networks
from pyconnector.control.store.objects.first import MANAGEMENT_KEY
from pyconnector.control.store.work import CHANNEL
from pyconnector.identity.management_token import public_key

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database

#: Changes in one answer.
MAX_CHANGES = 1000
#: Objects of a snapshot that are read and written in one turn of the event loop.
ROWS_AT_ONCE = 500
#: Seconds after which a waiting edge looks by itself: another process may write the same file, or a message be lost.
LOOK_AGAIN = 1.0
#: Seconds to reach PostgreSQL.
CONNECT_TIMEOUT = 5.0
#: Seconds between attempts to listen to PostgreSQL.
LISTEN_AGAIN = 0.5

_log = logging.getLogger("pyconnector.control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What happened after a number, the oldest first."""

    entries: list[dict[str, Any]]
    last: int
    "The number that the next question begins at."


class ChangeFeed:
    """Reads snapshots and changes of one database, and wakes who waits for them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        self._closed = False
        self._listening: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Wake waiters from now on. Cancel is as if it had not been called."""
        self._database.on_commit.append(self._wake)
        if self._database.is_postgresql:
            self._listening = asyncio.get_running_loop().create_task(self._listen(), name="control change feed")

    async def close(self) -> None:
        """Wake everyone a last time, and listen no more. Idempotent. Cancel leaves the listener ending."""
        if self._wake in self._database.on_commit:
            self._database.on_commit.remove(self._wake)
        self._closed = True
        self._wake()
        if self._listening is not None:
            # Told and not cancelled: a connection that is being made would be left open.
            self._stop.set()
            await asyncio.wait([self._listening])
            self._listening = None

    async def snapshot(self) -> bytes:
        """Return all that edges need to know, as of one number: lines of JSON. Cancel reads nothing more.

        The first line is `{"number": N}`, each one after it `{"kind", "id", "value"}`: neither end has to hold its
        event loop up for all of them at once.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        async with self._database.read() as session:
            number = (await session.execute(select(Feed.last))).scalar_one()
            lines = [json.dumps({"number": number})]
            for kind, table, value in _KINDS:
                statement = select(table)
                if hasattr(table, "deleted_at"):
                    statement = statement.where(table.deleted_at.is_(None))
                rows = (await session.stream(statement.execution_options(yield_per=ROWS_AT_ONCE))).scalars()
                async for part in rows.partitions():
                    for row in part:
                        key = row.name if kind == "name" else row.id
                        lines.append(json.dumps({"kind": kind, "id": str(key), "value": value(row)}))
                    await asyncio.sleep(0)
            key = await session.get(Setting, MANAGEMENT_KEY)
            if key is not None:  # it never changes, so no change ever tells of it
                lines.append(json.dumps({"kind": MANAGEMENT_KEY, "id": "1", "value": public_key(key.value)}))
        return "\n".join(lines).encode("ascii")

    async def changes(self, after: int, wait: float) -> Changes | None:
        """Return what happened after number `after`, waiting up to `wait` seconds for the first of it.

        None: it is too long ago, or not of this database; take a snapshot. Cancel reads nothing more.

        Raises:
            StoreUnavailable: the database cannot be read, or the feed is closed.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while True:
            if self._closed:
                raise StoreUnavailable("The control plane stops.")
            changed = self._changed
            found = await self._read(after)
            if found is None or found.entries or (left := end - loop.time()) <= 0:
                return found
            try:
                async with asyncio.timeout(min(left, LOOK_AGAIN)):
                    await changed.wait()
            except TimeoutError:
                continue

    async def _read(self, after: int) -> Changes | None:
        async with self._database.read() as session:
            last = (await session.execute(select(Feed.last))).scalar_one()
            if after == last:
                return Changes(entries=[], last=last)
            oldest = (await session.execute(select(func.min(Change.number)))).scalar()
            if after > last or oldest is None or after + 1 < oldest:
                return None
            statement = select(Change).where(Change.number > after).order_by(Change.number).limit(MAX_CHANGES)
            rows = list((await session.execute(statement)).scalars())
        entries = [{"number": row.number, "kind": row.kind, "id": row.object_id, "value": row.value} for row in rows]
        return Changes(entries=entries, last=rows[-1].number)

    def _wake(self) -> None:
        # A new event for those that come later, so that nobody has to clear the one that others wait for.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _listen(self) -> None:
        url = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        told = False
        while not self._stop.is_set():
            try:
                await self._listen_once(url)
                told = False
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if not told:
                    told = True
                    _log.warning("Cannot listen for changes in PostgreSQL; looking every %g s instead", LOOK_AGAIN)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_AGAIN):
                    await self._stop.wait()

    async def _listen_once(self, url: str) -> None:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)
        gone = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: gone.set())
            await connection.add_listener(CHANNEL, lambda *_: self._wake())
            self._wake()  # for what was announced while nobody listened
            waits = [asyncio.ensure_future(event.wait()) for event in (gone, self._stop)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiting in waits:
                    waiting.cancel()
        finally:
            if not connection.is_closed():
                await connection.close(timeout=1)


_KINDS: tuple[tuple[str, Any, Any], ...] = (
    ("tunnel", Tunnel, tunnels.edge_value),
    ("name", DnsRecord, dns.edge_value),
    ("virtual_network", VirtualNetwork, virtual_networks.edge_value),
    ("ip_route", IpRoute, ip_routes.edge_value),
    ("hostname_route", HostnameRoute, hostname_routes.edge_value),
    *ACCESS_KINDS,
    ("logpush_job", LogpushJob, logpush.edge_value),
)
