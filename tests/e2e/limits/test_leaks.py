"""The leak checks of these tests see what they are there for."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.loop import leaks
from tests.support.loop.leaks import nothing_left


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", 0.05)


async def test_a_task_that_goes_on_is_seen() -> None:
    stop = asyncio.Event()
    with pytest.raises(AssertionError, match="left behind: 1 tasks 'stays #'"):
        async with nothing_left():
            task = asyncio.create_task(stop.wait(), name="stays 7")
    stop.set()
    await task


async def test_a_socket_that_stays_open_is_seen() -> None:
    left, right = socket.socketpair()
    with left, right, pytest.raises(AssertionError, match="descriptors of socket"):
        async with nothing_left():
            third = socket.socket()
    third.close()


async def test_objects_and_memory_that_stay_are_seen() -> None:
    kept: list[object] = []
    with pytest.raises(AssertionError, match="objects"):
        async with nothing_left(objects=1000):
            kept += [[number] for number in range(5000)]
    with pytest.raises(AssertionError, match="KiB of memory"):
        async with nothing_left(resident=16 << 20):
            kept.append(b"x" * (64 << 20))


async def test_what_goes_a_moment_later_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", 5.0)

    left, right = socket.socketpair()
    right.close()
    asyncio.create_task(asyncio.sleep(0.01))  # noqa: RUF006 - nobody waits for it: that is the test
    asyncio.get_running_loop().call_later(0.01, left.close)
