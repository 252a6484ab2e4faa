"""An edge without QUIC, for tests that attach connectors in memory; and proof that nothing was left behind."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings, VisitorSettings
from tests.support.loop.loops import run_on_loop
from tests.support.peers.scripted_connector import ACCOUNT, SECRET, TUNNEL_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

TUNNEL = TunnelSettings(account_tag=ACCOUNT, tunnel_id=TUNNEL_ID, secret=SECRET)


def settings(**changes: Any) -> EdgeSettings:
    values: dict[str, Any] = {"address": None, "tunnels": (TUNNEL,), "control": None} | changes
    return EdgeSettings(**values)


@asynccontextmanager
async def memory_edge(**changes: Any) -> AsyncIterator[LocalEdge]:
    async with LocalEdge(settings(**changes)) as edge:
        yield edge


def visitors(**changes: Any) -> VisitorSettings:
    return VisitorSettings(**changes)


async def until(condition: Callable[[], bool], what: str = "a condition", *, seconds: float = 5.0) -> None:
    """Wait until something is so, and fail if it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what} never came true") from None


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test, and fail if it leaves tasks or file descriptors behind."""

    async def whole() -> None:
        await _settled()
        before = _descriptors()
        async with asyncio.timeout(30):
            await test()
        await _settled()
        left = {task.get_name() for task in asyncio.all_tasks()} - {"test"}
        assert not left, f"tasks are left: {left}"
        after = _descriptors()
        assert after <= before, f"file descriptors are left: {after - before}"

    async def named() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("test")
        await whole()

    run_on_loop(named())
    gc.collect()


async def _settled() -> None:
    # Transports close at the loop's next turns.
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


def _descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue
    return {entry for entry in found if "socket:" in entry}
