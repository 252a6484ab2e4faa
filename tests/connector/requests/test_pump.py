from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from pyconnector.connector.link.quic.exchange import JOIN_LIMIT, QuicExchange
from pyconnector.connector.requests.pump import pump
from pyconnector.origins.base import OriginError
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.transport.errors import StreamReset, TransportError
from pyconnector.transport.memory import memory_pair
from tests.connector.fakes import FakeResponse

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

pytestmark = pytest.mark.usefixtures("virtual_time")


class Writes:
    """A stream that records each write."""

    def __init__(self, *, full_after: int = 1 << 60) -> None:
        self.writes: list[tuple[bytes, bool]] = []
        self.drained = 0
        self._full_after = full_after

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        self.writes.append((data, finish))
        return sum(len(data) for data, _ in self.writes) > self._full_after

    async def drain(self) -> None:
        self.drained += 1

    def finish(self) -> None:
        self.writes.append((b"", True))


def answering(stream: object) -> QuicExchange:
    """An exchange on `stream` whose head is written HEAD."""
    exchange = QuicExchange(cast("Stream", stream), ConnectRequest(dest="", type=ConnectionType.HTTP), b"")
    exchange._head = b"HEAD"
    return exchange


async def run(writes: Writes, response: FakeResponse) -> list[tuple[bytes, bool]]:
    await pump(answering(writes), response)
    return writes.writes


async def test_a_small_response_leaves_in_one_write() -> None:
    assert await run(Writes(), FakeResponse(b"body")) == [(b"HEADbody", True)]


async def test_a_response_without_a_body_leaves_in_one_write() -> None:
    assert await run(Writes(), FakeResponse()) == [(b"HEAD", True)]


async def test_pieces_keep_their_order_and_the_last_ends_the_stream() -> None:
    assert await run(Writes(), FakeResponse(b"a", b"b", b"c")) == [(b"HEADa", False), (b"b", False), (b"c", True)]


async def test_a_large_first_piece_is_not_copied_behind_the_head() -> None:
    piece = b"x" * (JOIN_LIMIT + 1)
    assert await run(Writes(), FakeResponse(piece, b"y")) == [(b"HEAD", False), (piece, False), (b"y", True)]


async def test_a_head_does_not_wait_for_a_late_body() -> None:
    writes, response = Writes(), FakeResponse()
    response.open = True
    task = asyncio.create_task(pump(answering(writes), response))
    await asyncio.sleep(0)
    assert writes.writes == [(b"HEAD", False)]
    response.feed(b"tick")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert writes.writes[1:] == [(b"tick", False)]
    response.end()
    await task
    assert writes.writes[2:] == [(b"", True)]


async def test_a_full_stream_is_waited_for_before_more_is_taken() -> None:
    writes = Writes(full_after=0)
    await run(writes, FakeResponse(b"a", b"b", b"c"))
    assert writes.drained == 2  # the last write ends the stream: nothing is sent after it


async def test_a_failing_origin_is_told_to_the_caller() -> None:
    response = FakeResponse(b"a")
    response.broken = OriginError("broke")
    with pytest.raises(OriginError):
        await run(Writes(), response)


async def test_a_visitor_who_left_is_told_to_the_caller() -> None:
    edge, connector = memory_pair()
    theirs = await edge.open_stream()
    theirs.send_nowait(b"x")
    ours = await connector.accept_stream()
    theirs.stop()
    await asyncio.sleep(0)
    with pytest.raises(StreamReset):
        await pump(answering(ours), FakeResponse(b"body"))
    edge.close()


async def test_an_edge_that_takes_nothing_for_too_long_is_given_up() -> None:
    class Stuck(Writes):
        seconds = 0.0

        async def drain(self) -> None:
            await asyncio.sleep(self.seconds)

    async def scenario(seconds: float) -> Stuck:
        writes = Stuck(full_after=1)
        writes.seconds = seconds
        await pump(answering(writes), FakeResponse(b"aa", b"bb", b"cc"), 30.0)
        return writes

    assert (await scenario(29.0)).writes[-1] == (b"cc", True), "each wait is one of its own"
    with pytest.raises(TransportError, match=r"within 30 s \(write-stream-timeout\)"):
        await scenario(31.0)
