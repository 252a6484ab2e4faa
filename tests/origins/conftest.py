"""Every test of this room that does I/O runs on asyncio's own loop and, where it is installed, on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end; afterwards no task and no file descriptor may be left."""

    async def checked(work: Coroutine[Any, Any, None]) -> None:
        before = _open_files()
        async with asyncio.timeout(20):
            await work
        for _ in range(100):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others and _open_files() <= before:
                break
            await asyncio.sleep(0.005)
        assert not others, f"tasks left: {others}"
        assert _open_files() <= before, "file descriptors left open"

    def runner(work: Coroutine[Any, Any, None]) -> None:
        factory = importlib.import_module("uvloop").new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(checked(work))

    return runner


def _open_files() -> int:
    """Sockets and pipes; libuv keeps a /dev/null of its own."""
    count = 0
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{number}").startswith(("socket:", "pipe:"))
    return count
