"""What a hostile peer has qh3's core keep behind gaps is bounded; an honest one on a bad path is not taken for it."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.quic import connect
from pyconnector.transport.quic.qh3_engine import connection as qh3_connection
from pyconnector.transport.quic.qh3_engine import pieces as qh3_pieces
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.quic.qh3_engine.pieces import HELD_FRAMES, PACKET_OVERHEAD, UNSEEN_LIMIT
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, open_both, read_all, send_all, until
from tests.transport.pairs.aioquic_pair import client_tls
from tests.transport.pairs.qh3_pair import qh3_pair, serve
from tests.transport.pairs.qh3_relay import bad_path, relay_to
from tests.transport.quic.attacker import inject, numbers, stream_frame
from tests.transport.quic.qh3.test_qh3_hostile import Siege, siege, victims

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Stream

QH3 = QuicSettings(engine="qh3", idle_timeout=30)
#: What a connection may make the process grow by.
BOUND = 64 * 1024 * 1024
#: Bytes of a packet for frames.
ROOM = 1100


def resident() -> int:
    """Return the memory of this process, 0 where that is not known."""
    gc.collect()
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if sys.platform == "linux" else 0


async def attack(it: Siege, frames: Iterator[bytes]) -> int:
    """Send frames in full packets, no faster than the victim answers, until it gives up; return how many were sent."""
    sent, packet = 0, b""
    for frame in frames:
        packet += frame
        sent += 1
        if len(packet) < ROOM:
            continue
        inject(it.attacker, packet)
        packet = b""
        if len(it.attacker.core._numbers.sent_packets) > 200:
            await until(
                lambda: len(it.attacker.core._numbers.sent_packets) < 50 or it.victim.closed is not None, "answers"
            )
        if it.victim.closed is not None:
            break
    return sent


@victims
@pytest.mark.parametrize("step", [1, 2])
async def test_single_bytes_behind_gaps_end_the_connection_within_its_memory(victim: str, step: int) -> None:
    async with siege(victim, QH3) as it:
        it.claim_streams(8)
        before = resident()
        all_windows = (
            stream_frame(it.stream(number), b"x", offset=offset)
            for number in range(8)
            for offset in range(1, 512 * 1024, step)
        )
        sent = await attack(it, islice(all_windows, 500_000))
        info = await asyncio.wait_for(it.victim.wait_closed(), PATIENCE)
        grown = resident() - before
        assert info.local
        assert "pieces of streams whose beginnings it withholds" in info.reason
        assert "withholds" in (await asyncio.wait_for(it.attacker.wait_closed(), PATIENCE)).reason
        assert sent < UNSEEN_LIMIT // 6 + 2 * HELD_FRAMES
        assert grown < BOUND


@victims
async def test_they_count_in_streams_that_were_over_once(victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of streams that are over the core knows a thousand, and would take the others for new.
    monkeypatch.setattr(qh3_connection, "UNSEEN_LIMIT", 20_000)
    monkeypatch.setattr(qh3_pieces, "HELD_FRAMES", 8192)

    async with siege(victim, QH3) as it:
        for _ in range(1100):
            near, far = await open_both(it.attacker, it.victim)
            near.finish()
            far.finish()
            assert await read_all(near) == await read_all(far) == b""
        await until(lambda: not it.victim.streams, "the streams are forgotten")
        sent = await attack(it, (stream_frame(it.stream(0), b"x", offset=1 + n) for n in range(100_000)))
        assert it.victim.closed is not None
        assert "withholds" in it.victim.closed.reason
        assert sent < 40_000


@victims
async def test_packets_that_hold_data_are_not_hidden_by_others_around_it(
    victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qh3_connection, "UNSEEN_LIMIT", 20_000)
    monkeypatch.setattr(qh3_pieces, "HELD_FRAMES", 8192)

    async with siege(victim, QH3) as it:
        it.claim_streams(2)
        busy = stream_frame(it.stream(1), b"")
        frames = (
            frame
            for n in range(100_000)
            for frame in (numbers(0x02, 0, 0, 0, 0), busy, bytes(3), stream_frame(it.stream(0), b"x", offset=1 + n))
        )
        await attack(it, frames)
        assert it.victim.closed is not None
        assert "withholds" in it.victim.closed.reason


def watched(connection: Connection) -> qh3_pieces.PieceWatch:
    assert isinstance(connection, Qh3Connection)
    assert connection._watch is not None
    return connection._watch


@pytest.mark.parametrize(
    ("lost", "size", "rate"), [(0.0, 2_000_000, 1), (0.01, 1_000_000, 1), (0.01, 1_000_000, 8), (0.1, 300_000, 1)]
)
async def test_an_honest_peer_on_a_bad_path_is_never_given_up(
    lost: float, size: int, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched from its first packet on, and with every packet: what is left at the end is what the bound knows of."""
    monkeypatch.setattr(qh3_connection, "UNSEEN_LIMIT", -(1 << 60))
    monkeypatch.setattr(qh3_pieces, "RATE", rate)

    async with serve(QH3) as server, relay_to(server.listener.address) as relay:
        client = await connect(relay.address, tls=client_tls(), settings=QH3)
        try:
            far = await server.next()
            relay.to_server, relay.to_client = bad_path(1, lost), bad_path(2, lost)
            await both_ways(client, far, size)
            for end in (client, far):
                assert isinstance(end, Qh3Connection)
                assert end.closed is None
                watch = watched(end)
                assert watch._unreadable == 0
                assert watch._read > size / 1500 / rate / 2
                assert watch._held() * rate < HELD_FRAMES // 16
        finally:
            client.close()


async def both_ways(client: Connection, far: Connection, size: int) -> None:
    """Move `size` bytes on one stream each way, and a tenth in messages of 64 bytes, a stream for every ten."""
    near, other = await open_both(client, far)
    data = random.Random(3).randbytes(size)
    received = await asyncio.gather(
        read_all(near),
        read_all(other),
        send_all(near, data),
        send_all(other, data),
        many_small(client, far, size // 10),
    )
    assert received[0] == received[1] == data


async def many_small(client: Connection, far: Connection, size: int) -> None:
    for _ in range(size // 640):
        near, other = await open_both(client, far)
        for _ in range(10):
            near.send_nowait(bytes(64))
            other.send_nowait(bytes(64))
        near.finish()
        other.finish()
        assert len(await read_all(near)) == len(await read_all(other)) == 640


async def test_an_honest_transfer_is_not_even_watched() -> None:
    async with siege("client", QH3) as it:
        await both_ways(it.attacker, it.victim, 4_000_000)
        assert it.victim._watch is None
        assert it.victim._unseen < UNSEEN_LIMIT / 4
        # Every datagram takes that much, so what is unseen is never less than the frames that delivered nothing.
        assert it.victim._unseen > -PACKET_OVERHEAD


@victims
async def test_it_costs_nobody_who_asked_for_much(victim: str) -> None:
    """Acknowledgements alone have a peer watched at last, and that is all."""

    async with siege(victim, replace(QH3, idle_timeout=30)) as it:
        it.victim._unseen = UNSEEN_LIMIT
        near, other = await open_both(it.attacker, it.victim)
        sending = asyncio.create_task(send_all(other, bytes(8_000_000)))
        assert len(await read_all(near)) == 8_000_000
        await sending
        assert it.victim.closed is None
        assert watched(it.victim)._held() == 0


@pytest.mark.parametrize("opener", ["client", "server"])
async def test_streams_that_end_with_their_only_packet_are_no_pieces(
    opener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small answers: when a packet is looked at, the streams in it are over already."""
    monkeypatch.setattr(qh3_connection, "UNSEEN_LIMIT", -(1 << 60))
    monkeypatch.setattr(qh3_pieces, "RATE", 1)
    monkeypatch.setattr(qh3_pieces, "HELD_FRAMES", 100)
    monkeypatch.setattr(qh3_pieces, "_PRUNE_STEP", 10)

    async with qh3_pair(QH3, QH3) as (client, server):
        asking, asked = (client, server) if opener == "client" else (server, client)

        async def exchanges() -> None:
            for _ in range(150):
                near = await asking.open_stream()
                near.send_nowait(b"request", finish=True)
                assert await read_all(near) == b"answer"

        def answer(stream: Stream) -> None:
            stream.receive_nowait()
            stream.send_nowait(b"answer", finish=True)

        asked.set_stream_handler(answer)
        await asyncio.wait_for(asyncio.gather(*(exchanges() for _ in range(16))), PATIENCE)
        for end in (client, server):
            assert end.closed is None
            watch = watched(end)
            assert watch._read > 100
            assert watch._late == 0
