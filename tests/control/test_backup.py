"""A backup of a control plane, and a new one made of it: on either database, and from one to the other."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from pyconnector.connector.cli.commands import main
from pyconnector.control.store.backup import LEAP, BackupError, back_up, restore
from pyconnector.control.store.database import Database, sqlite_url
from pyconnector.control.store.migrate import revisions
from pyconnector.control.store.models import Account, Feed
from tests.control.support import open_mesh

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def filled(mesh: Mesh) -> dict[str, object]:
    """Objects of several kinds; what lists say of them."""
    tunnel = await mesh.tunnel("home")
    access = f"{mesh.account}/access"
    await mesh.call("POST", f"{access}/service_tokens", json={"name": "agent", "role": "reader", "labels": ["a=b"]})
    rule = {"action": "allow", "roles": ["reader"], "networks": ["10.0.0.0/8"]}
    await mesh.call("POST", f"{mesh.account}/network_rules", json=rule)
    await mesh.call("POST", f"{mesh.account}/teamnet/routes", json={"network": "10.0.0.0/8", "tunnel_id": tunnel["id"]})
    return await lists(mesh)


async def lists(mesh: Mesh) -> dict[str, object]:
    paths = ("cfd_tunnel", "access/service_tokens", "network_rules", "teamnet/routes", "access/organizations")
    return {path: await mesh.call("GET", f"{mesh.account}/{path}") for path in paths}


async def test_a_control_plane_made_of_a_backup_is_the_same(mesh: Mesh, tmp_path: Path) -> None:
    before, file = await filled(mesh), tmp_path / "backup.gz"
    rows = await back_up(mesh.plane.database, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with mesh.plane.database.read() as session:
        last = (await session.execute(select(Feed.last))).scalar_one()
    await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "later"})
    with pytest.raises(BackupError, match="there already"):
        await back_up(mesh.plane.database, file)
    with pytest.raises(BackupError, match="not empty"):
        await restore(mesh.plane.database, file)
    # From either database into SQLite.
    data = tmp_path / "new"
    data.mkdir(mode=0o700)
    database = Database(sqlite_url(data / "control.sqlite3"))
    try:
        assert await restore(database, file) == rows
    finally:
        await database.close()
    async with open_mesh(data, token=mesh.token) as again:
        assert again.account == mesh.account
        assert await lists(again) == before
        async with again.plane.database.read() as session:
            number = (await session.execute(select(Feed.last))).scalar_one()
        # No edge takes a change to come for one that it knows.
        assert number >= last + LEAP


async def test_a_backup_of_sqlite_goes_into_postgresql(database: str, tmp_path: Path) -> None:
    if not database:
        pytest.skip("it is about PostgreSQL")
    async with open_mesh(tmp_path / "data") as mesh:
        before, token = await filled(mesh), mesh.token
        await back_up(mesh.plane.database, tmp_path / "backup.gz")
    target = Database(database)
    try:
        await restore(target, tmp_path / "backup.gz")
    finally:
        await target.close()
    async with open_mesh(tmp_path / "other", database, token=token) as mesh:
        assert await lists(mesh) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[:-1], "ends too early"),
        (lambda lines: [*lines[:2], b"{", *lines[3:]], "no JSON"),
        (lambda lines: [*lines[:2], b'["x"]', *lines[3:]], "no sense"),
        (lambda lines: [lines[0], lines[1].replace(b'"columns"', b'"colums"'), *lines[2:]], "no sense"),
        (lambda lines: [b'{"format": 9}', *lines[1:]], "no backup"),
        (lambda lines: [json.dumps({"format": 1, "migration": "9999"}).encode(), *lines[1:]], "later version"),
    ],
)
async def test_a_damaged_backup_leaves_the_database_empty(tmp_path: Path, change: object, told: str) -> None:
    assert callable(change)
    async with open_mesh(tmp_path / "data") as mesh:
        await mesh.tunnel("home")
        await back_up(mesh.plane.database, tmp_path / "good.gz")
    lines = gzip.decompress((tmp_path / "good.gz").read_bytes()).splitlines()
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(b"\n".join(change(lines)) + b"\n"))
    database = Database(sqlite_url(tmp_path / "new.sqlite3"))
    try:
        with pytest.raises(BackupError, match=told):
            await restore(database, bad)
        bad.write_bytes((tmp_path / "good.gz").read_bytes()[:-100])
        with pytest.raises(BackupError, match=r"damaged|too early"):
            await restore(database, bad)
        flipped = bytearray((tmp_path / "good.gz").read_bytes())
        flipped[12:20] = bytes(each ^ 0xFF for each in flipped[12:20])
        bad.write_bytes(flipped)
        with pytest.raises(BackupError, match=r"damaged|too early|no sense|no JSON|no backup|cannot be read"):
            await restore(database, bad)
        # One of an earlier version is brought up to date.
        older = json.loads(lines[0]) | {"migration": revisions()[-2]}
        bad.write_bytes(gzip.compress(b"\n".join([json.dumps(older).encode(), *lines[1:]]) + b"\n"))
        database, empty = Database(sqlite_url(tmp_path / "newer.sqlite3")), database
        await empty.close()
        await restore(database, bad)
        async with database.read() as session:
            assert (await session.execute(select(func.count(Account.id)))).scalar_one() == 1
            assert (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == revisions()[
                -1
            ]
    finally:
        await database.close()


def test_the_commands_say_what_they_did_and_why_not(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["mesh", *arguments])
        return done.exit_code, done.output

    code, said = run("backup", str(tmp_path / "b.gz"), "--data-dir", str(tmp_path / "none"))
    assert (code, "is not there" in said) == (1, True)
    assert not (tmp_path / "b.gz").exists()
    (tmp_path / "text").write_text("x")
    code, said = run("restore", str(tmp_path / "text"), "--data-dir", str(tmp_path / "new"))
    assert (code, "cannot be read" in said) == (1, True)
