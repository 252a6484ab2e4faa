"""What a stream buffers stays small in number as in bytes, and nothing is counted twice."""

from __future__ import annotations

import sys

import pytest

from pyconnector.transport.buffers.connection import SEND_BUDGET, SEND_LEAST
from pyconnector.transport.buffers.stream import JOINED_PIECE, LONG_PIECE, SMALL_PIECE
from pyconnector.transport.memory import MemoryConnection, MemoryLimits, MemoryStream, memory_pair
from pyconnector.transport.seam import RECEIVE_LIMIT, SEND_HIGH_WATER


class CountingStream(MemoryStream):
    """Counts the credit that goes back."""

    __slots__ = ("consumed",)

    def __init__(self, connection: MemoryConnection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.consumed = 0

    def engine_consumed(self, count: int) -> None:
        self.consumed += count


@pytest.mark.usefixtures("loop_errors")
async def test_single_bytes_cost_no_object_each() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 0)
    for index in range(50_000):
        stream.data_received(bytes((index % 251,)), False)
    assert len(stream._pieces) <= 50_000 // JOINED_PIECE + 2
    assert sum(map(sys.getsizeof, stream._pieces)) < 100_000
    taken = b""
    while stream.buffered:
        taken += stream.receive_nowait(777) or b""
    assert taken == bytes(index % 251 for index in range(50_000))
    assert stream.consumed == 50_000


@pytest.mark.usefixtures("loop_errors")
async def test_small_and_large_pieces_keep_their_order() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 0)
    expected = b""
    for round_number in range(20):
        for size in (1, SMALL_PIECE - 1, SMALL_PIECE, 3, 5000):
            piece = bytes(((round_number + size) % 256,)) * size
            stream.data_received(piece, False)
            expected += piece
    stream.data_received(b"", True)
    taken = b""
    while piece := stream.receive_nowait(1500) or b"":
        assert len(piece) <= 1500
        taken += piece
    assert taken == expected
    assert stream.consumed == len(expected)


@pytest.mark.usefixtures("loop_errors")
async def test_long_pieces_are_handed_on_uncopied() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 0)
    pieces = [bytes([each]) * LONG_PIECE for each in range(3)] + [b"short", b"tail"]
    for piece in pieces:
        stream.data_received(piece, False)
    for piece in pieces[:3]:
        assert stream.receive_nowait(2 * LONG_PIECE) is piece
    assert stream.receive_nowait(2 * LONG_PIECE) == b"shorttail"
    assert stream.consumed == 3 * LONG_PIECE + 9


@pytest.mark.usefixtures("loop_errors")
async def test_dropped_and_late_bytes_give_their_credit_back_once() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 0)
    stream.data_received(b"waiting", False)
    assert stream.receive_nowait(3) == b"wai"
    stream.stop()
    assert stream.consumed == 7
    stream.data_received(b"late", True)
    assert stream.consumed == 11
    reset = CountingStream(client, 4)
    reset.data_received(b"waiting", False)
    reset.peer_reset(1)
    reset.peer_reset(2)
    assert reset.consumed == 7
    assert reset.is_aborted


@pytest.mark.usefixtures("loop_errors")
async def test_a_receive_needs_room_for_a_byte() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 0)
    stream.data_received(b"x", False)
    with pytest.raises(ValueError, match="at least 1"):
        stream.receive_nowait(0)


@pytest.mark.usefixtures("loop_errors")
async def test_the_repr_says_where_a_stream_stands() -> None:
    client, _server = memory_pair()
    stream = CountingStream(client, 8)
    stream.data_received(b"abc", True)
    stream.reset(1)
    assert repr(stream) == "<CountingStream 8 receiving=ended sending=refused buffered=3>"


@pytest.mark.usefixtures("loop_errors")
async def test_streams_carry_no_dictionary() -> None:
    client, _server = memory_pair()
    assert not hasattr(MemoryStream(client, 0), "__dict__")


@pytest.mark.usefixtures("loop_errors")
async def test_the_backlogs_of_many_stalled_streams_share_one_budget() -> None:
    client, _server = memory_pair(limits=MemoryLimits(stream_window=1024, connection_window=1024, streams=1000))
    piece = bytes(16 * 1024)
    streams = [await client.open_stream() for _ in range(400)]
    for stream in streams:
        while not stream.send_nowait(piece):
            pass
    total = client.engine_unsent_total()
    assert SEND_BUDGET < total <= SEND_BUDGET + len(streams) * (SEND_LEAST + len(piece))
    # The first had a whole high watermark, the last no more than its least.
    assert streams[0].engine_unsent_backlog() > SEND_HIGH_WATER - len(piece)  # type: ignore[attr-defined]
    assert streams[-1].engine_unsent_backlog() <= SEND_LEAST + len(piece)  # type: ignore[attr-defined]
    assert client.send_high_water == SEND_LEAST
    for stream in streams:
        stream.reset()
    assert client.engine_unsent_total() == 0
    assert client.send_high_water == SEND_HIGH_WATER
    client.close()


def test_a_hundred_stalled_streams_queue_less_than_14_mib_to_be_sent() -> None:
    # Each may have gone over its mark by the largest piece that the pumps send at once.
    assert SEND_BUDGET + 100 * (SEND_LEAST + RECEIVE_LIMIT) < 14 * 1024 * 1024
