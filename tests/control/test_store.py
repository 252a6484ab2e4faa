"""The database: concurrent edits, migrations, a lock, an outage, a damaged file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from sqlalchemy import inspect, select, text

from pyconnector.control.plane import ControlPlane
from pyconnector.control.settings import ControlPlaneSettings, SettingsError
from pyconnector.control.store.database import Database
from pyconnector.control.store.migrate import migrate, revisions
from pyconnector.control.store.models import AuditRecord, Base, Change, Tunnel
from pyconnector.control.store.objects import configurations, tunnels
from pyconnector.control.store.work import Actor, Work
from tests.control.support import open_mesh

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def test_concurrent_edits_lose_nothing(mesh: Mesh) -> None:
    path = f"{mesh.account}/cfd_tunnel/{(await mesh.tunnel())['id']}"
    config = {"config": {"ingress": [{"service": "http_status:404"}]}}
    edits = [mesh.call("PUT", f"{path}/configurations", json=config) for _ in range(8)]
    edits += [mesh.call("PATCH", path, json={"name": f"n{number}"}) for number in range(4)]
    answers = await asyncio.gather(*edits)
    assert sorted(answer["version"] for answer in answers[:8]) == list(range(1, 9))
    assert (await mesh.call("GET", f"{path}/configurations"))["version"] == 8


async def test_of_many_with_one_name_one_is_made(mesh: Mesh) -> None:
    path = f"{mesh.account}/cfd_tunnel"
    answers = await asyncio.gather(*[mesh.client.post(path, json={"name": "one"}) for _ in range(6)])
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert len(await mesh.call("GET", path)) == 1


async def test_an_overtaken_edit_begins_again(mesh: Mesh) -> None:
    if not mesh.plane.database.is_postgresql:
        pytest.skip("SQLite lets one write at a time begin")
    database, made = mesh.plane.database, await mesh.tunnel()
    actor = Actor(account_id=mesh.plane.installation.account_id)
    attempts = 0

    async def slow(work: Work) -> int:
        nonlocal attempts
        attempts += 1
        tunnel = await configurations.put(work, made["id"], {})
        if attempts == 1:  # by what does not wait for its turn, as another program on the database
            async with database.engine.begin() as other:
                await other.execute(text("UPDATE tunnels SET name = 'overtook', version = version + 1"))
        return tunnel.configuration_version

    assert await database.write(actor, slow) == 1
    assert attempts == 2
    async with database.read() as session:
        tunnel = await tunnels.find(session, actor.account_id, made["id"])
    assert (tunnel.name, tunnel.configuration_version) == ("overtook", 1)


async def test_a_change_its_record_and_its_number_are_one(mesh: Mesh) -> None:
    database = mesh.plane.database
    actor = Actor(account_id=mesh.plane.installation.account_id)

    async def counts() -> list[int]:
        async with database.read() as session:
            return [
                len(list((await session.execute(select(table))).scalars())) for table in (AuditRecord, Change, Tunnel)
            ]

    before = await counts()

    async def fails(work: Work) -> None:
        await tunnels.create(work, name="t", secret=None, config_src="local")
        await work.finish(notify=False)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(actor, fails)
    assert await counts() == before


async def test_migrations_make_the_schema_of_the_models(tmp_path: Path, bare_database: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    store = Database(bare_database or f"sqlite:///{tmp_path / 'x.sqlite3'}")
    await migrate(store)
    await migrate(store)  # again: nothing to do

    def difference(connection: Any) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        return list(compare_metadata(context, Base.metadata))

    async with store.engine.connect() as connection:
        assert await connection.run_sync(difference) == []
    await store.close()


async def test_every_earlier_migration_is_upgraded_with_its_data(tmp_path: Path, bare_database: str) -> None:
    for number, revision in enumerate(revisions()):
        url = bare_database or f"sqlite:///{tmp_path / f'{number}.sqlite3'}"
        store = Database(url)
        await migrate(store, revision)
        async with store.engine.begin() as connection:
            await connection.execute(text("UPDATE feed SET last = 7"))
        await migrate(store)
        async with store.engine.connect() as connection:
            assert (await connection.execute(text("SELECT last FROM feed"))).scalar() == 7
        await store.close()


async def test_a_migration_that_breaks_off_leaves_nothing(
    tmp_path: Path, bare_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(bare_database or f"sqlite:///{tmp_path / 'x.sqlite3'}")
    upgrade = command.upgrade

    def breaks(*arguments: Any) -> None:
        upgrade(*arguments)
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(command, "upgrade", breaks)
    with pytest.raises(RuntimeError):
        await migrate(store)
    async with store.engine.connect() as connection:
        names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    assert names == []
    monkeypatch.undo()
    await migrate(store)
    await store.close()


async def test_a_database_of_a_later_version_is_refused(tmp_path: Path, database: str) -> None:
    async with open_mesh(tmp_path / "data", database) as mesh:
        async with mesh.plane.database.engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    settings = ControlPlaneSettings(data_directory=tmp_path / "data", database=database, zone="example.com")
    with pytest.raises(SettingsError, match="9999"):
        await ControlPlane(settings).start()


async def test_two_first_starts_make_one_installation(tmp_path: Path, bare_database: str) -> None:
    if not bare_database:
        pytest.skip("one SQLite file has one control plane")
    planes = [
        ControlPlane(ControlPlaneSettings(data_directory=tmp_path / name, database=bare_database, zone="example.com"))
        for name in ("one", "two")
    ]
    await asyncio.gather(*[plane.start() for plane in planes])
    assert len({plane.installation.account_id for plane in planes}) == 1
    assert sum(plane.installation.first_token is not None for plane in planes) == 1
    await asyncio.gather(*[plane.stop() for plane in planes])


async def test_a_locked_file_is_said_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyconnector.control.store import database as module

    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.2)

    async with open_mesh(tmp_path / "data") as mesh:
        path = tmp_path / "data" / "control.sqlite3"
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Beside this loop: whoever is writing now goes on in it.
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        await mesh.refused(503, "POST", f"{mesh.account}/cfd_tunnel", json={"name": "t"})
        assert await mesh.call("GET", f"{mesh.account}/cfd_tunnel") == []  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        await mesh.tunnel("t")


async def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        secret = "A" * 600
        async with mesh.plane.database.engine.connect() as connection:
            pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        from sqlalchemy import event

        @event.listens_for(mesh.plane.database.engine.sync_engine, "begin")
        def full(connection: Any) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

        statuses = []
        for number in range(60):
            body = {"name": f"{number}" * 40, "tunnel_secret": secret}
            statuses.append((await mesh.client.post(f"{mesh.account}/cfd_tunnel", json=body)).status_code)
        assert set(statuses) == {200, 503}
        kept = await mesh.call("GET", f"{mesh.account}/cfd_tunnel")
        assert len(kept) == statuses.count(200)


async def test_a_damaged_file_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "control.sqlite3").write_bytes(b"no database " * 1000)
    with pytest.raises(SettingsError, match="not a database"):
        await ControlPlane(ControlPlaneSettings(data_directory=data)).start()


async def test_an_open_data_directory_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    with pytest.raises(SettingsError, match="0700"):
        await ControlPlane(ControlPlaneSettings(data_directory=data)).start()


@pytest.mark.parametrize("url", ["mysql://a/b", "sqlite:///:memory:", "nonsense", "postgresql//user:secret@host"])
def test_another_database_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        ControlPlaneSettings(data_directory=tmp_path, database=url)
    assert url not in str(raised.value)


async def test_a_backup_is_a_whole_installation(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh:
        made = await mesh.tunnel("kept")
        source = sqlite3.connect(tmp_path / "data" / "control.sqlite3")
        (tmp_path / "copy").mkdir(mode=0o700)
        target = sqlite3.connect(tmp_path / "copy" / "control.sqlite3")
        source.backup(target)
        source.close()
        target.close()
        token = mesh.token
    async with open_mesh(tmp_path / "copy", token=token) as mesh:
        (found,) = await mesh.call("GET", f"{mesh.account}/cfd_tunnel")
        assert found["id"] == made["id"]


async def test_connections_that_postgresql_dropped_are_made_anew(tmp_path: Path, database: str) -> None:
    if not database:
        pytest.skip("a file drops no connections")

    async with open_mesh(tmp_path / "data", database) as mesh, mesh.edge() as edge:
        await mesh.tunnel("before")
        number = json.loads((await edge.get("/snapshot")).text.split("\n")[0])["number"]
        other = Database(database)
        async with other.engine.connect() as connection:
            dropped = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
            await connection.execute(text(dropped))
        await other.close()
        waiting = asyncio.create_task(edge.get("/changes", params={"after": number, "wait": 20}))
        await mesh.tunnel("after")
        (change,) = (await waiting).json()["changes"]
        assert change["value"]["name"] == "after"
