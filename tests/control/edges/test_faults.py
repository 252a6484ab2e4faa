"""What goes wrong around a mesh: its database fails over, clocks differ, names collide, tunnels go while in use."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pyconnector.control.store import database as store
from pyconnector.control.store import feed
from pyconnector.edge import LocalEdge
from tests.control.edges.test_edges import connected, eventually, following, route, until, visit
from tests.control.edges.test_many_edges import HOST, joined, knows, serving
from tests.control.support import open_mesh
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.postgres import PostgresServer, postgres_server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.mark.postgres
async def test_a_failover_of_postgresql_is_waited_out(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUSY_TIMEOUT", 1.0)
    monkeypatch.setattr(feed, "LISTEN_AGAIN", 0.1)

    url = f"postgresql://pyconnector@127.0.0.1:{server.port}/postgres"
    async with open_mesh(tmp_path / "data", url) as mesh, LocalEdge(following(mesh)) as edge:
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        await until(lambda: edge.tunnels.for_host(HOST) is not None, "the name")
        assert edge.follower is not None
        follower = edge.follower
        async with connected(edge, made["token"], 201):
            assert await visit(edge, HOST) == 201
            await asyncio.to_thread(server.stop, at_once=True)
            await until(lambda: not follower.connected, "the absence")
            # The API says so, also to who reads, and the edge serves what it knows.
            for method, path in (("GET", "cfd_tunnel"), ("POST", "cfd_tunnel")):
                error = await mesh.refused(503, method, f"{mesh.account}/{path}", json={"name": "x"})
                assert "database" in error["message"]
            page = await mesh.client.get(f"{mesh.plane.url}/ui")
            assert page.status_code in (200, 503)
            assert await visit(edge, HOST) == 201
            await asyncio.to_thread(server.start)
            await until(lambda: follower.connected, "the return")
            await route(mesh, made["id"], "later")
            await until(lambda: edge.tunnels.for_host("later.example.com") is not None, "the new name")
            path = f"{mesh.account}/cfd_tunnel/{made['id']}/connections"
            async with asyncio.timeout(20):
                while not await mesh.call("GET", path):
                    await asyncio.sleep(0.01)
            assert await visit(edge, "later.example.com") == 201


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_clocks_an_hour_apart_make_no_edge_dead(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ahead() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)

    async with open_mesh(tmp_path / "one", database) as one:
        monkeypatch.setattr(store, "machine_clock", ahead)
        async with (
            open_mesh(tmp_path / "two", database, one.token) as two,
            joined(one) as right,
            joined(two) as wrong,
        ):
            made = await one.tunnel("t")
            await route(one, made["id"], "app")
            async with connected(right, made["token"], 201):
                await knows(wrong, made["id"])
                for mesh in (one, two, one, two):
                    assert len(await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{made['id']}/connections")) == 1
                # A report by either does not drop the other's edge.
                for edge in (right, wrong, right):
                    assert edge._peers is not None
                    assert edge._peers.staying == 1
                assert await visit(wrong, HOST) == 201
            created = datetime.datetime.fromisoformat((await two.tunnel("late"))["created_at"])
            assert abs(created - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=5)


async def test_two_edges_of_one_name_are_two(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        async with joined(mesh) as one, joined(mesh) as two:
            async with connected(one, made["token"], 201):
                await knows(two, made["id"])
                async with connected(two, made["token"], 202):
                    path = f"{mesh.account}/cfd_tunnel/{made['id']}/connections"
                    async with asyncio.timeout(20):
                        while len(await mesh.call("GET", path)) != 2:
                            await asyncio.sleep(0.01)
                    # The one that leaves takes nothing of the other with it.
                    await two.stop()
                    async with asyncio.timeout(20):
                        while len(await mesh.call("GET", path)) != 1:
                            await asyncio.sleep(0.01)
                assert await visit(one, HOST) == 201


async def test_a_tunnel_that_is_deleted_ends_what_it_carries(tmp_path: Path) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")
        asked.set()
        await reader.read()
        over.set()
        writer.close()

    async with (
        await asyncio.start_server(endless, "127.0.0.1", 0) as origin,
        open_mesh(tmp_path / "data") as mesh,
        LocalEdge(replace(following(mesh), location="lab")) as edge,
    ):
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        await until(lambda: edge.tunnels.for_host(HOST) is not None, "the name")
        rules = [{"service": "http://127.0.0.1:{}".format(*origin.sockets[0].getsockname()[1:])}]
        async with serving(edge, made["token"], rules), RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get("/", HOST))
            assert (await visitor.head()).status == 200
            assert await visitor.reader.readexactly(5) == b"begun"
            await mesh.call("DELETE", f"{mesh.account}/cfd_tunnel/{made['id']}", params={"cascade": "true"})
            # The visitor sees that it is not whole, the service that nobody wants more, and others who is gone.
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                async with asyncio.timeout(20):
                    await visitor.reader.readexactly(1_000_000 - 5)
            async with asyncio.timeout(20):
                await over.wait()
            await eventually(lambda: visit(edge, HOST), 530)


async def test_a_migration_that_is_killed_half_way_is_done_at_the_next_start(tmp_path: Path) -> None:
    # A process that ends at the worst moment: its first steps are done, nothing is committed.
    program = """
import asyncio, os, pathlib, signal, sys
from sqlalchemy.engine import Connection
from pyconnector.control.store.database import Database, sqlite_url
from pyconnector.control.store.migrate import migrate

tables = 0
execute = Connection.execute

def counted(self, *arguments, **options):
    global tables
    done = execute(self, *arguments, **options)
    tables += type(arguments[0]).__name__ == "CreateTable"
    if tables == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Connection.execute = counted
asyncio.run(migrate(Database(sqlite_url(pathlib.Path(sys.argv[1])))))
"""
    path = tmp_path / "data" / "control.sqlite3"
    path.parent.mkdir(mode=0o700)
    killed = subprocess.run([sys.executable, "-c", program, str(path)], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL

    async with open_mesh(tmp_path / "data") as mesh:
        await mesh.tunnel("t")


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_copy_of_a_postgresql_database_is_whole(tmp_path: Path, database: str) -> None:
    async def fill() -> str:
        async with open_mesh(tmp_path / "data", database) as mesh:
            made = await mesh.tunnel("kept")
            await route(mesh, made["id"], "app")
            return mesh.token

    async def look(token: str, url: str) -> None:
        async with open_mesh(tmp_path / "other", url, token) as mesh:
            assert [row["name"] for row in await mesh.call("GET", f"{mesh.account}/cfd_tunnel")] == ["kept"]
            await mesh.tunnel("later")

    token = await fill()
    name = f"r{uuid.uuid4().hex}"
    server, _, source = database.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
        # What `pg_dump | psql` does, by the server itself: the dump's program may be of another version.
        session.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
    try:
        await look(token, f"{server}/{name}")
    finally:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)")
