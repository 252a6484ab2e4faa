"""Who owns an HTTP/1.1 connection when a task is cancelled in the very turn of the loop in which its answer arrives."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import OriginResponse, RequestKind
from pyconnector.origins.http1.connection import HttpConnection, Unanswered
from pyconnector.origins.http1.pool import Pool
from tests.origins.support import OK_HEAD, OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.peers.raw_origin import Peer

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
BEGUN = OK_HEAD + b"Content-Length: 4\r\n\r\nhi"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello"


class Wire(asyncio.Transport):
    """A transport that only notes how it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def pooled() -> tuple[Pool, HttpConnection, Wire]:
    pool, wire = Pool(), Wire()
    connection = pool.new_connection("")
    connection.connection_made(wire)
    return pool, connection, wire


def cancel_first(task: asyncio.Task[OriginResponse], arrive: Callable[[], None]) -> None:
    task.cancel()
    arrive()


def answer_first(task: asyncio.Task[OriginResponse], arrive: Callable[[], None]) -> None:
    arrive()
    task.cancel()


ORDERS = [cancel_first, answer_first]
RACE = pytest.mark.parametrize("race", ORDERS)


@pytest.mark.usefixtures("each_loop")
@RACE
async def test_a_cancelled_exchange_leaves_the_next_one_alone(
    race: Callable[[asyncio.Task[OriginResponse], Callable[[], None]], None],
) -> None:
    pool, connection, wire = pooled()
    leaver = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)

    async def stay() -> OriginResponse:
        taken = pool.take("")
        assert taken is connection
        return await taken.exchange(REQUEST)

    stayer = asyncio.create_task(stay())
    race(leaver, lambda: connection.data_received(OK_HI))
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    assert not wire.aborted
    connection.data_received(OK_HI)
    async with asyncio.timeout(30):
        assert await read_all(await stayer) == b"hi"
    assert pool.idle_count == 1
    pool.close()


@pytest.mark.usefixtures("each_loop")
@RACE
async def test_an_answer_begun_for_nobody_closes_its_connection(
    race: Callable[[asyncio.Task[OriginResponse], Callable[[], None]], None],
) -> None:
    pool, connection, wire = pooled()
    leaver = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    race(leaver, lambda: connection.data_received(BEGUN))
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    assert wire.aborted
    assert pool.idle_count == 0
    pool.close()


@pytest.mark.usefixtures("each_loop")
@RACE
async def test_a_tunnel_opened_for_nobody_is_closed(
    race: Callable[[asyncio.Task[OriginResponse], Callable[[], None]], None],
) -> None:
    pool, connection, wire = pooled()
    leaver = asyncio.create_task(connection.exchange(REQUEST, upgrade=True))
    await asyncio.sleep(0)
    race(leaver, lambda: connection.data_received(SWITCHING))
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    assert wire.aborted
    pool.close()


@RACE
async def test_a_failure_for_nobody_is_not_reported(
    race: Callable[[asyncio.Task[OriginResponse], Callable[[], None]], None],
) -> None:
    reported: list[dict[str, object]] = []

    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    pool, connection, wire = pooled()
    leaver = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    race(leaver, lambda: connection.data_received(b"nonsense"))
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    assert wire.aborted
    pool.close()
    del leaver
    gc.collect()
    assert reported == []


@pytest.mark.usefixtures("each_loop")
async def test_aborting_a_connection_fails_whoever_waits() -> None:
    _, connection, _ = pooled()
    waiting = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    connection.abort()
    with pytest.raises(Unanswered, match="its connection was closed"):
        async with asyncio.timeout(30):
            await waiting

    _, connection, _ = pooled()
    waiting = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(BEGUN)
    response = await waiting
    assert await response.receive() == b"hi"
    reading = asyncio.ensure_future(response.receive())
    await asyncio.sleep(0)
    connection.abort()
    with pytest.raises(Exception, match="its connection was closed"):
        async with asyncio.timeout(30):
            await reading


@pytest.mark.usefixtures("each_loop")
async def test_a_connection_has_one_exchange_at_a_time() -> None:
    _, connection, _ = pooled()
    waiting = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another exchange"):
        await connection.exchange(REQUEST)
    connection.data_received(OK_HI)
    assert await read_all(await waiting) == b"hi"
    connection.abort()


@pytest.mark.usefixtures("each_loop")
async def test_a_late_abort_of_an_old_response_reaches_nothing() -> None:
    pool, connection, wire = pooled()
    waiting = asyncio.create_task(connection.exchange(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(BEGUN)
    old = await waiting
    connection.data_received(b"ya")
    taken = pool.take("")
    assert taken is connection
    waiting = asyncio.create_task(taken.exchange(REQUEST))
    await asyncio.sleep(0)
    old.abort()
    assert not wire.aborted
    connection.data_received(OK_HI)
    assert await read_all(await waiting) == b"hi"
    pool.close()


SEED = 20260829
LEAVERS, STAYERS, REQUESTS = 12, 8, 150


@pytest.mark.usefixtures("each_loop")
async def test_leavers_beside_stayers_harm_nobody() -> None:
    """Twelve tasks that are cancelled after a few turns of the loop, beside eight whose requests are all answered."""

    async def script(peer: Peer) -> None:
        try:
            while True:
                head = await peer.head()
                name = head.split(b" ")[1]
                if b"upgrade" in head.lower():
                    await peer.send(SWITCHING)
                    await peer.closed_after_rest()
                    return
                peer.writer.write(OK_HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(name), name))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    chance = random.Random(SEED)
    done = asyncio.Event()
    async with http_origin(script) as (origin, server):

        async def leave(number: int) -> None:
            kind = RequestKind.WEBSOCKET if number % 3 == 0 else RequestKind.HTTP
            length = None if kind is RequestKind.WEBSOCKET else 0
            while not done.is_set():

                async def visit() -> None:
                    response = await origin.serve(get("/leaver", kind=kind, length=length), Body(end=False))
                    response.abort()

                visiting = asyncio.create_task(visit())
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                visiting.cancel()
                await asyncio.wait({visiting})

        async def stay(number: int) -> None:
            for count in range(REQUESTS):
                target = f"/{number}/{count}"
                async with asyncio.timeout(30):
                    assert await read_all(await origin.serve(get(target), Body())) == target.encode()

        leavers = [asyncio.create_task(leave(number)) for number in range(LEAVERS)]
        await asyncio.gather(*(stay(number) for number in range(STAYERS)))
        done.set()
        await asyncio.gather(*leavers)
        assert origin._pool is not None
        await until(lambda: len(server.running) == (origin._pool.idle_count if origin._pool else 0))
