"""When changes of this machine's network are told, and what a dial under way does then."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from pyconnector.connector.link.dialing import until_quiet
from pyconnector.connector.link.paths.network_watch import LONGEST_DELAY, QUIET, NetworkWatch
from pyconnector.transport.errors import ConnectFailed
from tests.support.houses.namespaces import network, run_apart, why_not

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_changes_are_told_once_it_is_quiet() -> None:
    watch, told = NetworkWatch(), []
    loop = asyncio.get_running_loop()
    with watch.subscribe(lambda: told.append(round(loop.time(), 3))):
        watch.changed()
        await asyncio.sleep(QUIET / 2)
        watch.changed()
        await asyncio.sleep(10)
    assert told == [pytest.approx(1.5 * QUIET)]


async def test_changes_without_end_are_told_all_the_same() -> None:
    watch, told = NetworkWatch(), []
    loop = asyncio.get_running_loop()
    with watch.subscribe(lambda: told.append(round(loop.time(), 3))):
        for _ in range(25):
            watch.changed()
            await asyncio.sleep(QUIET / 2)
    assert told[:2] == [LONGEST_DELAY, pytest.approx(2 * LONGEST_DELAY, abs=QUIET)]


async def test_dial_begins_anew_where_the_network_changes() -> None:
    dials: list[float] = []
    connection = cast("Connection", object())

    async def dial() -> Connection:
        dials.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10.0 if len(dials) == 1 else 0.5)
        return connection

    watch = NetworkWatch()
    dialling = asyncio.ensure_future(until_quiet(dial, watch))
    await asyncio.sleep(2.0)
    watch.changed()
    assert await dialling is connection
    assert dials == [0.0, 2.0 + QUIET]


async def test_dial_that_fails_or_is_cancelled_leaves_nothing_behind() -> None:
    async def fail() -> Connection:
        raise ConnectFailed("no")

    watch = NetworkWatch()
    with pytest.raises(ConnectFailed):
        await until_quiet(fail, watch)
    ended: list[bool] = []

    async def hang() -> Connection:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append(True)
        raise AssertionError

    dialling = asyncio.ensure_future(until_quiet(hang, watch))
    await asyncio.sleep(1.0)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert ended
    assert not watch._subscribers
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_system_tells_of_a_route_that_appears() -> None:
    with network() as here:

        async def scenario() -> None:
            here.enter(here.site)
            here.without_ipv6()  # whose search for doubled addresses is told too, seconds later
            here.unroute()
            watch, told = NetworkWatch(), asyncio.Event()
            assert watch.open()
            try:
                with watch.subscribe(told.set):
                    await asyncio.sleep(2 * QUIET)
                    assert not told.is_set()
                    await asyncio.to_thread(here.route, 1)
                    await asyncio.wait_for(told.wait(), 10.0)
            finally:
                watch.close()

        run_apart(scenario)
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, check=True, text=True).stdout
    assert here.site not in left
    assert here.far not in left
