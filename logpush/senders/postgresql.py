"""Records as rows of a table, each once: its digest is the key."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import asyncpg

from pyconnector.logpush.senders.base import Batch, SendFailed

if TYPE_CHECKING:
    from pyconnector.logpush.destinations import PostgresqlDestination

#: Seconds to reach the server, and for one statement.
CONNECT_TIMEOUT, TIMEOUT = 10.0, 60.0
_COLUMNS = """
    chain text PRIMARY KEY, datetime timestamptz NOT NULL, ray_id text NOT NULL, host text NOT NULL,
    path text NOT NULL, status integer, action text NOT NULL, reason text NOT NULL, actor text NOT NULL,
    source_ip text NOT NULL, record jsonb NOT NULL
"""
_INSERT = """
    INSERT INTO {table} (chain, datetime, ray_id, host, path, status, action, reason, actor, source_ip, record)
    SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[],
                         $8::text[], $9::text[], $10::text[], $11::jsonb[])
    ON CONFLICT (chain) DO NOTHING
"""


class PostgresqlSender:
    """See `Sender`."""

    def __init__(self, destination: PostgresqlDestination) -> None:
        self._destination = destination
        self._connection: asyncpg.Connection | None = None

    async def send(self, batch: Batch) -> None:
        """See `Sender.send`."""
        columns: list[tuple[object, ...]] = list(
            zip(*(_row(chain, record) for chain, record in batch.rows), strict=True)
        )
        await self._insert(columns)

    async def probe(self, name: str, text: str) -> None:
        """See `Sender.probe`: the table is made where it is not there, and nothing is added to it."""
        await self._insert([])

    async def _insert(self, columns: list[tuple[object, ...]]) -> None:
        try:
            connection = await self._connected()
            if columns:
                await connection.execute(_INSERT.format(table=self._destination.table), *columns, timeout=TIMEOUT)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            await self.close()
            raise SendFailed(f"the database does not take it: {type(error).__name__}") from error

    async def close(self) -> None:
        """See `Sender.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(self._destination.url, timeout=CONNECT_TIMEOUT)
            self._connection = connection
            if await connection.fetchval("SELECT to_regclass($1)", self._destination.table) is None:
                # Who may only add rows needs no right to make tables, once one is there.
                table = self._destination.table
                index = f"{table.replace('.', '_')[:50]}_datetime"
                await connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({_COLUMNS})", timeout=TIMEOUT)
                await connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} (datetime)", timeout=TIMEOUT)
        return self._connection


def _row(chain: str, record: dict[str, object]) -> tuple[object, ...]:
    actor = record.get("Email") or record.get("ServiceTokenName") or record.get("ActorType", "")
    moment = datetime.datetime.fromisoformat(str(record["Datetime"]))
    host = record.get("HTTPHost") or record.get("RequestedHost", "")
    texts = [str(record.get("RayID") or record.get("SessionID", "")), str(host), str(record.get("URL", ""))]
    why = [str(record.get(name, "")) for name in ("Action", "Reason")]
    # The database's texts hold no NUL, nor does its jsonb.
    row = (chain, moment, *texts, record.get("HTTPStatusCode"), *why, str(actor), str(record.get("SourceIP", "")))
    whole = json.dumps(record).replace("\\u0000", "\\ufffd")
    return (*(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row), whole)
