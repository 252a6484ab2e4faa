from __future__ import annotations

import asyncio
import threading

import pytest

from pyconnector.connector.background import in_background


async def test_work_is_done_beside_the_loop() -> None:
    go_on = threading.Event()
    asyncio.get_running_loop().call_soon(go_on.set)
    assert await in_background(lambda: go_on.wait(10)) is True


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(KeyError, match="missing"):
        await in_background(lambda: dict[str, int]()["missing"])


async def test_work_that_never_ends_holds_nothing_up() -> None:
    release = threading.Event()

    async with asyncio.timeout(30):
        working = asyncio.ensure_future(in_background(release.wait))
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert not release.is_set()
    release.set()
