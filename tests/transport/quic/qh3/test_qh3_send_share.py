"""What qh3's core may hold of each stream: it keeps the most it ever held until the stream is over."""

from __future__ import annotations

from typing import cast

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from qh3._hazmat import QuicConnectionCore

from pyconnector.transport.quic.qh3_engine.send_share import LARGEST_SHARE, SHARED_GROWTH, SMALLEST_SHARE, SendShare
from pyconnector.transport.quic.qh3_engine.stream import Qh3Stream
from pyconnector.transport.seam import RECEIVE_LIMIT
from tests.transport.conformance import read_all, until
from tests.transport.pairs.qh3_pair import qh3_pair

MIB = 1024 * 1024


async def test_core_is_given_no_more_than_a_streams_share() -> None:
    async with qh3_pair() as (near, far):
        streams = [await near.open_stream() for _ in range(8)]
        for number, stream in enumerate(streams):
            stream.send_nowait(bytes([number]) * MIB, finish=True)
        held = [near.core.get_send_buffer_size(stream.stream_id) for stream in streams]
        assert max(held) <= SMALLEST_SHARE
        assert near.engine_unsent_total() >= 8 * (MIB - SMALLEST_SHARE)
        for _ in streams:
            stream = await far.accept_stream()
            data = await read_all(stream)
            assert data == bytes([stream.stream_id // 4]) * MIB


async def test_shares_of_streams_that_were_quick_in_turn_stay_bounded() -> None:
    async with qh3_pair() as (near, far):
        streams = []
        for _ in range(40):
            stream = await near.open_stream()
            assert isinstance(stream, Qh3Stream)
            streams.append(stream)
            stream.send_nowait(bytes(2 * MIB))
            other = await far.accept_stream()
            left = 2 * MIB
            while left:
                left -= len(await other.receive(RECEIVE_LIMIT))
        shares = [stream._share for stream in streams]
        limits = [share.limit for share in shares if share is not None]
        assert len(limits) == 40
        assert SMALLEST_SHARE < max(limits) <= LARGEST_SHARE
        assert sum(limits) <= 40 * SMALLEST_SHARE + SHARED_GROWTH
        assert (SMALLEST_SHARE, SHARED_GROWTH) == (MIB // 16, 6 * MIB)  # of the 64 MiB that a connection may cost
        assert all(share.room >= 0 for share in shares if share is not None)
        for stream in streams:
            stream.reset()
            stream.stop()
        await until(lambda: near.shares._allowance.free == SHARED_GROWTH, "what they grew by is given back")


async def test_reset_drops_what_waits() -> None:
    async with qh3_pair() as (near, _):
        stream = await near.open_stream()
        stream.send_nowait(bytes(MIB))
        assert near.shares.waiting_bytes
        stream.reset()
        assert not near.shares.waiting_bytes


class Core:
    """What a share asks of the core."""

    def __init__(self) -> None:
        self.outstanding_application_packets = [(number, 1000, 1) for number in range(65)]
        self.unsent = 0
        self.loss_total = self.pto_total = 0
        self.sent = 65_000

    @property
    def bytes_in_flight(self) -> int:
        return 1000 * len(self.outstanding_application_packets)

    @property
    def active_path(self) -> tuple[int, ...]:
        return (0, 0, 0, self.sent, 0, 0)

    def get_send_buffer_size(self, _: int) -> int:
        return self.unsent

    def send(self, packets: int) -> None:
        first = self.sent // 1000
        self.outstanding_application_packets += [(first + number, 1000, 1) for number in range(packets)]
        self.sent += 1000 * packets


def used_up() -> SendShare:
    share = SendShare(0, SMALLEST_SHARE)
    share.add(bytes(SMALLEST_SHARE), False)
    assert share.room == 0
    return share


def look(share: SendShare, core: Core) -> bool:
    return share.look(cast("QuicConnectionCore", core))


def test_share_is_free_once_packets_of_its_mark_are_acknowledged() -> None:
    share, core = used_up(), Core()
    look(share, core)
    core.send(5)  # of other streams
    del core.outstanding_application_packets[:64]
    look(share, core)
    assert share.room == 0, "one of its packets is still outstanding"
    del core.outstanding_application_packets[0]
    look(share, core)
    assert share.room == SMALLEST_SHARE


def test_lost_packets_are_waited_for_again() -> None:
    share, core = used_up(), Core()
    look(share, core)
    core.loss_total = 1
    del core.outstanding_application_packets[:]
    core.send(1)  # what was lost, again
    look(share, core)
    assert share.room == 0
    del core.outstanding_application_packets[:]
    core.send(1)
    look(share, core)
    assert share.room == SMALLEST_SHARE


def test_growing_does_not_help_streams_that_wait_for_credit() -> None:
    share, core = used_up(), Core()
    assert look(share, core)
    core.unsent = 1
    assert not look(used_up(), core)
