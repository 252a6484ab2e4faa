"""A PostgreSQL client that knows nothing of tunnels, through edge, QUIC and a tcp:// rule, to a real server."""

from __future__ import annotations

import asyncio
import hashlib
import os

import psycopg
import pytest

from tests.support.house import open_house
from tests.support.postgres import running_postgres

pytestmark = pytest.mark.postgres

MEGABYTES = 4


def test_a_database_session_with_megabytes_both_ways() -> None:
    with running_postgres() as server_port:
        asyncio.run(_session(server_port))


async def _session(server_port: int) -> None:
    rules = [
        {"hostname": "db.test", "service": f"tcp://127.0.0.1:{server_port}"},
        {"service": "http_status:404"},
    ]
    async with open_house(rules) as house:
        port = await house.edge.add_tcp_port("db.test")
        await asyncio.to_thread(_use, port)


def _use(port: int) -> None:
    blob = os.urandom(MEGABYTES * 1024 * 1024)
    with psycopg.connect(f"host=127.0.0.1 port={port} user=pyconnector dbname=postgres connect_timeout=10") as session:
        session.execute("CREATE TEMP TABLE things (name text, body bytea)")
        session.execute("INSERT INTO things VALUES (%s, %s)", ("blob", blob))
        row = session.execute("SELECT body, md5(body) FROM things", binary=True).fetchone()
        assert row is not None
        assert row[0] == blob
        assert row[1] == hashlib.md5(blob).hexdigest()
        rows = session.execute("SELECT generate_series(1, 50000)").fetchall()
        assert len(rows) == 50000
