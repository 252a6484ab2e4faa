"""What waits for slow visitors is small for each where there are many, and reads are large where there are few."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.net import reading
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, INBOX_LOW_WATER, SMALL_HIGH_WATER, SMALL_LOW_WATER, Inbox
from pyconnector.origins.net.reading import MANY_FULL, READ_BYTES, SMALL_READ_BYTES, Reading, full_inboxes
from tests.origins.support import OK_HEAD, get, http_origin, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from tests.support.peers.raw_origin import Peer


class Tap:
    """A source that can be paused."""

    def __init__(self) -> None:
        self.paused = False

    def is_paused(self) -> bool:
        return self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Collecting(Reading):
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.received.append(data)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    gc.collect()
    full_inboxes().clear()


def full_inbox() -> tuple[Inbox, Tap]:
    tap = Tap()
    inbox = Inbox(tap)
    inbox.put(bytes(INBOX_HIGH_WATER + 1))
    assert tap.is_paused()
    return inbox, tap


def test_reads_are_large_until_many_inboxes_are_full() -> None:
    protocol = Collecting()
    full = []
    for _ in range(MANY_FULL):
        assert len(protocol.get_buffer(-1)) == READ_BYTES
        full.append(full_inbox())
    assert len(protocol.get_buffer(-1)) == SMALL_READ_BYTES
    full[0][0].receive_nowait(INBOX_HIGH_WATER)
    assert len(protocol.get_buffer(-1)) == READ_BYTES


def test_inboxes_fill_sooner_where_many_are_full() -> None:
    full = [full_inbox() for _ in range(MANY_FULL)]
    tap = Tap()
    inbox = Inbox(tap)
    inbox.put(bytes(SMALL_HIGH_WATER))
    assert not tap.is_paused()
    inbox.put(b"x")
    assert tap.is_paused()
    inbox.receive_nowait(SMALL_HIGH_WATER - SMALL_LOW_WATER)
    assert tap.is_paused()
    inbox.receive_nowait(1)
    assert not tap.is_paused()
    inbox.put(bytes(SMALL_HIGH_WATER))
    assert tap.is_paused()
    for each, _ in full:
        each.drop()
    inbox.receive_nowait(1)
    assert not tap.is_paused()


@pytest.mark.parametrize("end", ["read", "drop", "detach", "forgotten"])
def test_an_inbox_counts_as_full_only_as_long_as_it_is(end: str) -> None:
    inbox, tap = full_inbox()
    assert list(full_inboxes()) == [inbox]
    if end == "read":
        inbox.receive_nowait(INBOX_HIGH_WATER + 1 - INBOX_LOW_WATER)
        assert not tap.is_paused()
        assert list(full_inboxes()) == [inbox], "it still holds much"
        inbox.receive_nowait(INBOX_LOW_WATER - SMALL_LOW_WATER)
    elif end == "drop":
        inbox.drop()
    elif end == "detach":
        inbox.attach(None)
        assert not tap.is_paused()
        inbox.receive_nowait(INBOX_HIGH_WATER)
    else:
        del inbox
    gc.collect()
    assert not full_inboxes()


def test_what_was_read_is_handed_on_before_the_space_is_used_again() -> None:
    first, second = Collecting(), Collecting()
    for protocol, data in ((first, b"one"), (second, b"second"), (first, b"3")):
        protocol.get_buffer(-1)[: len(data)] = data
        protocol.buffer_updated(len(data))
    assert (first.received, second.received) == ([b"one", b"3"], [b"second"])


async def test_threads_do_not_share_a_space() -> None:
    async def lend() -> memoryview:
        return Collecting().get_buffer(-1)

    theirs = await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(lend()))
    assert theirs.obj is not (await lend()).obj


@pytest.mark.usefixtures("each_loop")
async def test_many_visitors_who_take_nothing_cost_little_each() -> None:
    count = 40

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.set_write_buffer_limits(high=0)
        await peer.send(OK_HEAD + b"\r\n")
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while True:
                peer.writer.write(bytes(65536))
                await peer.writer.drain()

    async with http_origin(*[script] * count) as (origin, server):
        responses = [await origin.serve(get(), Body()) for _ in range(count)]
        await until(lambda: len(full_inboxes()) == count, 10)
        sizes = sorted(response.size for response in responses if isinstance(response, Inbox))
        assert len(sizes) == count
        assert sizes[-1] <= INBOX_HIGH_WATER + READ_BYTES
        assert sizes[count - MANY_FULL - 1] <= SMALL_HIGH_WATER + SMALL_READ_BYTES
        for response in responses:
            response.abort()
        assert not reading.full_inboxes()
        await until(lambda: not server.running)
