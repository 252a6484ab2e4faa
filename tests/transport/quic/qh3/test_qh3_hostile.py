"""A hostile peer of the qh3 engine, whichever side it is, piles up no state and ends no connection but its own.

The peer speaks through the aioquic engine, whose packets a test can fill as it likes. What test_qh3_engine.py has of
this: packets that are lost, repeated, late or spoilt, and another address in the middle of a transfer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.buffers import connection as connection_buffers
from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection
from pyconnector.transport.quic.qh3_engine.configuration import server_configuration
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, open_both, read_all, until
from tests.transport.pairs.aioquic_pair import credentials
from tests.transport.pairs.qh3_pair import quic_pair
from tests.transport.quic.attacker import inject, numbers, reset_frame, stream_frame

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE, FRAME_ENCODING, PROTOCOL_VIOLATION = 3, 4, 5, 6, 7, 0xA
QH3 = QuicSettings(engine="qh3", connection_window=1 << 20, stream_window=1 << 20)
AIOQUIC = QuicSettings(engine="aioquic")


@dataclass
class Siege:
    """The two ends; `first` is the number of the first stream that the attacker opens."""

    attacker: AioquicConnection
    victim: Qh3Connection
    first: int

    def stream(self, number: int) -> int:
        return self.first + 4 * number

    def claim_streams(self, count: int) -> None:
        """Let the attacker's own engine believe that it opened these."""
        self.attacker.core._local_next_stream_id_bidi = self.stream(count)


@asynccontextmanager
async def siege(victim: str, settings: QuicSettings = QH3) -> AsyncIterator[Siege]:
    if victim == "server":
        async with quic_pair(AIOQUIC, settings) as (client, server):
            assert isinstance(client, AioquicConnection)
            assert isinstance(server, Qh3Connection)
            yield Siege(client, server, 0)
    else:
        async with quic_pair(settings, AIOQUIC) as (client, server):
            assert isinstance(client, Qh3Connection)
            assert isinstance(server, AioquicConnection)
            yield Siege(server, client, 1)


victims = pytest.mark.parametrize("victim", ["server", "client"])


@victims
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (lambda s: [stream_frame(s(0), b"x", offset=1 << 21)], FLOW_CONTROL),
        (lambda s: [stream_frame(s(n), b"x", offset=400_000) for n in range(3)], FLOW_CONTROL),
        (lambda s: [reset_frame(s(0), 0, 1 << 21)], FLOW_CONTROL),
        (lambda s: [stream_frame(s(0), b"abc", ends=True), stream_frame(s(0), b"d", offset=3)], FINAL_SIZE),
        (lambda s: [stream_frame(s(0), b"a", offset=5), stream_frame(s(0), b"", offset=2, ends=True)], FINAL_SIZE),
        (lambda s: [stream_frame(s(0), b"abc", offset=2), reset_frame(s(0), 0, 3)], FINAL_SIZE),
        (lambda s: [stream_frame(s(0) ^ 1, b"x")], STREAM_STATE),
        (lambda s: [numbers(0x05, (s(0) ^ 1) + 4, 0)], STREAM_STATE),
        (lambda s: [stream_frame(s(0) + 2, b"x")], STREAM_LIMIT),
        (lambda s: [numbers(0x12, (1 << 60) + 1)], FRAME_ENCODING),
        (lambda s: [numbers(0x0E, s(0), (1 << 62) - 1, 1) + b"x"], FRAME_ENCODING),
        (lambda s: [numbers(0x0E, s(0), 0, 100) + b"short"], FRAME_ENCODING),
        (lambda s: [numbers(0x3F)], FRAME_ENCODING),
        (lambda s: [numbers(0x02, 1 << 30, 0, 0, 0)], PROTOCOL_VIOLATION),
        (lambda s: [numbers(0x19, 500)], PROTOCOL_VIOLATION),
        (lambda s: [numbers(0x31, 100) + bytes(100)], PROTOCOL_VIOLATION),
        (lambda s: [stream_frame(s(4_000_000), b"x")], STREAM_LIMIT),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_the_right_code(
    victim: str, frames: Callable[[Callable[[int], int]], list[bytes]], code: int
) -> None:
    async with siege(victim, replace(QH3, datagram_frame_size=100)) as it:
        inject(it.attacker, *frames(it.stream))
        at_victim = await asyncio.wait_for(it.victim.wait_closed(), PATIENCE)
        at_attacker = await asyncio.wait_for(it.attacker.wait_closed(), PATIENCE)
        assert (at_victim.code, at_victim.local) == (code, True)
        assert (at_attacker.code, at_attacker.local) == (code, False)
        assert at_victim.reason


@victims
async def test_a_flood_of_resets_leaves_no_state_and_reaches_no_handler(victim: str) -> None:
    async with siege(victim) as it:
        handed: list[Stream] = []
        it.victim.set_stream_handler(handed.append)
        it.claim_streams(3000)
        for start in range(0, 3000, 100):
            inject(it.attacker, *(reset_frame(it.stream(n), 0, 0) for n in range(start, start + 100)))
            await asyncio.sleep(0)
        near = await it.attacker.open_stream()
        near.send_nowait(b"still served", finish=True)
        await until(lambda: len(handed) == 1, "an honest stream is served")
        assert await read_all(handed[0]) == b"still served"
        handed[0].finish()
        await until(lambda: not it.victim.streams, "reset streams are forgotten")
        assert it.victim.peer_streams == 0


@victims
async def test_resets_of_streams_with_unread_data_give_their_bytes_back(victim: str) -> None:
    async with siege(victim) as it:
        it.victim.set_stream_handler(lambda stream: stream.reset())
        it.claim_streams(2000)
        data = bytes(1000)
        for number in range(2000):
            inject(it.attacker, stream_frame(it.stream(number), data), reset_frame(it.stream(number), 0, 1000))
            await asyncio.sleep(0)
        await until(lambda: not it.victim.streams, "reset streams are forgotten")
        assert it.victim._unread == 0
        assert it.victim.closed is None, "more than two windows passed"


@victims
@pytest.mark.parametrize("kind", ["data", "nothing", "gap", "credit", "stop", "reset"])
async def test_streams_beyond_the_bound_are_cut_off_however_they_are_opened(victim: str, kind: str) -> None:
    # Of "nothing", "gap" and "credit" the core tells nothing, but each has it keep a stream: a kilobyte for five bytes.
    kinds: dict[str, Callable[[int], bytes]] = {
        "data": lambda stream_id: stream_frame(stream_id, b"x"),
        "nothing": lambda stream_id: stream_frame(stream_id, b""),
        "gap": lambda stream_id: stream_frame(stream_id, b"x", offset=1),
        "credit": lambda stream_id: numbers(0x11, stream_id, 1 << 40),
        "stop": lambda stream_id: numbers(0x05, stream_id, 0),
        "reset": lambda stream_id: reset_frame(stream_id, 0, 0),
    }

    async with siege(victim, replace(QH3, incoming_streams=20)) as it:
        held: list[Stream] = []
        it.victim.set_stream_handler(held.append)
        it.claim_streams(60)
        # In one datagram, before any answer to them could be acknowledged.
        inject(it.attacker, *(kinds[kind](it.stream(number)) for number in range(60)))
        info = await asyncio.wait_for(it.victim.wait_closed(), PATIENCE)
        assert info.code == STREAM_LIMIT
        assert "stream limit 20 exceeded" in info.reason
        assert len(held) <= 20


def test_no_settings_allow_more_streams_than_the_bound() -> None:
    assert server_limit(QuicSettings(engine="qh3")) == connection_buffers.PEER_STREAMS
    assert server_limit(QuicSettings(engine="qh3", incoming_streams=7)) == 7


def server_limit(settings: QuicSettings) -> int:
    return server_configuration(credentials().server, settings).incoming_streams


async def test_random_frames_end_a_connection_at_worst() -> None:
    chance = random.Random(11)

    for number in range(40):
        async with siege("server" if number % 2 else "client") as it:
            # Not CONNECTION_CLOSE, which would merely end it.
            kind = chance.choice([*range(0x1C), 0x1E, 0x30, 0x31])
            inject(it.attacker, bytes((kind,)) + chance.randbytes(chance.randrange(60)))
            inject(it.attacker, numbers(0x01))
            await asyncio.sleep(0.01)
            if it.victim.closed is None:
                near, far = await open_both(it.victim, it.attacker)
                near.finish()
                assert await read_all(far) == b""
            else:
                assert it.victim.closed.reason
