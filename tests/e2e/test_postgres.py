"""A PostgreSQL client that knows nothing of tunnels, through edge, QUIC and a tcp:// rule, to a real server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

import psycopg
import pytest

from pyconnector.agent.access.credentials import Credentials
from pyconnector.agent.access.dial import Dialer
from pyconnector.agent.access.forward import Forward
from pyconnector.agent.access.place import connect_to, parse_place
from tests.support.houses.house import open_house
from tests.support.houses.tls_house import tls_house
from tests.support.identity.agents import HOST
from tests.support.services.postgres import running_postgres

pytestmark = pytest.mark.postgres

MEGABYTES = 4


async def test_a_database_session_with_megabytes_both_ways() -> None:
    with running_postgres() as server_port:
        await _session(server_port)


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


async def test_psql_under_a_service_token(tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")

    async def main(server_port: int) -> None:
        async with asyncio.timeout(60), tls_house(tmp_path, port=server_port) as house:
            world = house.world()
            world.application()
            agent = world.agent()
            credentials = Credentials(client_id=agent.client_id, secret=agent.secret)
            place = connect_to(parse_place(HOST), house.connect_to)
            forward = Forward(Dialer(place, credentials, ca_file=house.ca))
            where, port = await forward.start("127.0.0.1", 0)
            command = [psql, "-h", where, "-p", str(port), "-U", "pyconnector", "-d", "postgres", "-Atc"]
            process = await asyncio.create_subprocess_exec(
                *command, "SELECT sum(x) FROM generate_series(1, 100000) x", stdout=-1, stderr=-1
            )
            out, err = await process.communicate()
            assert (out, process.returncode) == (b"5000050000\n", 0), err
            agent.delete()
            process = await asyncio.create_subprocess_exec(*command, "SELECT 1", stdout=-1, stderr=-1)
            out, _ = await process.communicate()
            assert (out, process.returncode) == (b"", 2)
            await forward.close()

    with running_postgres() as server_port:
        await main(server_port)
