"""A config file that is written, replaced, linked elsewhere or touched."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.cli.process.config_watch import ConfigWatch

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between looks, and those after which nothing was noticed.
LOOK = 0.01
NOTHING = 0.3


def _write(path: Path) -> None:
    path.write_text("b")


def _replace(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text("b")
    fresh.replace(path)


def _remove_and_write(path: Path) -> None:
    path.unlink()
    path.write_text("b")


async def noticed(path: Path, act: Callable[[Path], None], *, patience: float = 20.0) -> bool:
    watch = ConfigWatch(str(path), interval=LOOK)
    act(path)
    try:
        async with asyncio.timeout(patience):
            await watch.wait_change()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("act", [_write, _replace, _remove_and_write])
async def test_a_file_that_reads_otherwise_is_noticed(tmp_path: Path, act: Callable[[Path], None]) -> None:
    path = tmp_path / "c.yml"
    path.write_text("a")
    assert await noticed(path, act)


async def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """As a mounted ConfigMap changes: `..data` leads to another folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.yml").write_text(name)
    data, path = tmp_path / "..data", tmp_path / "c.yml"
    data.symlink_to("one")
    path.symlink_to("..data/c.yml")

    def swap(_: Path) -> None:
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").replace(data)

    assert await noticed(path, swap)


def _touch(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("act", [_touch, Path.unlink, lambda path: path.write_text("a")])
async def test_a_file_that_reads_the_same_is_no_change(tmp_path: Path, act: Callable[[Path], None]) -> None:
    path = tmp_path / "c.yml"
    path.write_text("a")
    assert not await noticed(path, act, patience=NOTHING)


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text("a")
    watch = ConfigWatch(str(path))
    for number in range(5):
        path.write_text("b" * (number + 2))
        assert not watch._changed(), "it changed since the last look"
    assert watch._changed()
    assert not watch._changed(), "it was told"


def test_what_was_read_for_another_reason_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text("a")
    watch = ConfigWatch(str(path))
    path.write_text("bb")
    watch.seen()
    assert not any(watch._changed() for _ in range(3))


async def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert not await noticed(path, _touch, patience=NOTHING)
