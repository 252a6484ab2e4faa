"""A hostile peer neither piles up state here nor brings down more than its own connection."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from pyconnector.transport.buffers import connection as connection_buffers
from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.quic.aioquic_engine import receiving as aioquic_receiving
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, open_both, read_all, until
from tests.transport.pairs.aioquic_pair import aioquic_pair, dial, serve
from tests.transport.pairs.relay import relay_to
from tests.transport.quic.attacker import inject, numbers, reset_frame, stream_frame

if TYPE_CHECKING:
    from pyconnector.transport.seam import ConnectionClosedInfo, Stream

pytestmark = pytest.mark.usefixtures("loop_errors")

PROTOCOL_VIOLATION, FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE, FRAME_ENCODING = 0xA, 3, 4, 5, 6, 7
SMALL = QuicSettings(
    initial_stream_window=16384, stream_window=16384, initial_connection_window=32768, connection_window=32768
)


async def _attack(
    *frames: bytes, settings: QuicSettings | None = None
) -> tuple[ConnectionClosedInfo, ConnectionClosedInfo]:
    """Let a client send `frames`; return how its connection ended at the server and at the client."""

    async def scenario() -> tuple[ConnectionClosedInfo, ConnectionClosedInfo]:
        async with aioquic_pair(settings) as (client, server):
            inject(client, *frames)
            at_server = await asyncio.wait_for(server.wait_closed(), PATIENCE)
            at_client = await asyncio.wait_for(client.wait_closed(), PATIENCE)
            return at_server, at_client

    return await scenario()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([stream_frame(0, b"x", offset=600_000)], FLOW_CONTROL),
        ([reset_frame(0, 0, 600_000)], FLOW_CONTROL),
        ([stream_frame(0, b"abc", ends=True), stream_frame(0, b"d", offset=3)], FINAL_SIZE),
        ([stream_frame(0, b"a", offset=5), stream_frame(0, b"", offset=2, ends=True)], FINAL_SIZE),
        ([stream_frame(0, b"", offset=5, ends=True), stream_frame(0, b"", offset=6, ends=True)], FINAL_SIZE),
        ([stream_frame(0, b"abc", offset=2), reset_frame(0, 0, 3)], FINAL_SIZE),
        ([stream_frame(1, b"x")], STREAM_STATE),
        ([numbers(0x05, 5, 0)], STREAM_STATE),
        ([stream_frame(2, b"x")], STREAM_LIMIT),
        ([numbers(0x12, (1 << 60) + 1)], FRAME_ENCODING),
        ([numbers(0x0E, 0, (1 << 62) - 1, 1) + b"x"], FRAME_ENCODING),
        ([numbers(0x0E, 0, 0, 100) + b"short"], FRAME_ENCODING),
        ([numbers(0x3F)], FRAME_ENCODING),
        ([b"\x40"], FRAME_ENCODING),
        ([numbers(0x1E)], PROTOCOL_VIOLATION),
        ([numbers(0x07, 1) + b"t"], PROTOCOL_VIOLATION),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_the_right_code(frames: list[bytes], code: int) -> None:
    at_server, at_client = await _attack(*frames)
    assert (at_server.code, at_server.local) == (code, True)
    assert (at_client.code, at_client.local) == (code, False)
    assert at_server.reason


async def test_an_oversized_datagram_frame_ends_the_connection() -> None:
    settings = QuicSettings(datagram_frame_size=100)
    assert (await _attack(numbers(0x31, 100) + bytes(100), settings=settings))[0].code == PROTOCOL_VIOLATION


async def test_streams_that_overstep_the_connections_limit_together_end_it() -> None:
    at_server, _ = await _attack(*(stream_frame(4 * n, b"x", offset=16_000) for n in range(3)), settings=SMALL)
    assert (at_server.code, at_server.reason) == (FLOW_CONTROL, "Over connection data limit")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([stream_frame(1, b"x", offset=600_000)], FLOW_CONTROL),
        ([reset_frame(1, 0, 600_000)], FLOW_CONTROL),
        ([stream_frame(4 * 1_000_000 + 1, b"x")], STREAM_LIMIT),
        ([stream_frame(0, b"x")], STREAM_STATE),
        ([numbers(0x31, 100) + bytes(100)], PROTOCOL_VIOLATION),
    ],
)
async def test_a_hostile_server_is_cut_off_as_a_client_is(frames: list[bytes], code: int) -> None:
    async with aioquic_pair(QuicSettings(datagram_frame_size=100)) as (client, server):
        inject(server, *frames)
        at_client = await asyncio.wait_for(client.wait_closed(), PATIENCE)
        assert (at_client.code, at_client.local) == (code, True)
        assert (await asyncio.wait_for(server.wait_closed(), PATIENCE)).code == code


async def test_a_stream_far_ahead_opens_no_billion_below_it() -> None:
    for stream_id in ((1 << 61) - 4, 4 * 1_000_000):
        at_server, _ = await _attack(stream_frame(stream_id, b"x"))
        assert at_server.code == STREAM_LIMIT


async def test_a_gap_of_streams_within_reason_is_opened() -> None:
    async with aioquic_pair() as (client, server):
        inject(client, stream_frame(40, b"far ahead"))
        far = await asyncio.wait_for(server.accept_stream(), PATIENCE)
        assert far.stream_id == 40
        assert server.statistics().streams_open == 1
        inject(client, stream_frame(8, b"late", ends=True))
        late = await asyncio.wait_for(server.accept_stream(), PATIENCE)
        assert late.stream_id == 8
        assert await read_all(late) == b"late"


async def test_streams_beyond_the_bound_are_refused_and_then_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_buffers, "PEER_STREAMS", 20)
    monkeypatch.setattr(aioquic_receiving, "PEER_STREAM_STATES", 40)

    async with aioquic_pair() as (client, server):
        held: list[Stream] = []
        server.set_stream_handler(held.append)
        pairs = [await client.open_stream() for _ in range(30)]
        for stream in pairs:
            stream.send_nowait(b"x")
        await until(lambda: len(held) == 20, "the first ones are accepted")
        aborted = asyncio.Event()
        pairs[25].set_abort_callback(aborted.set)
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        assert len(held) == 20
        client.core._local_next_stream_id_bidi = 4 * 60
        for number in range(30, 60):
            inject(client, stream_frame(4 * number, b"x"))
        info = await asyncio.wait_for(server.wait_closed(), PATIENCE)
        assert info.code == STREAM_LIMIT


async def test_streams_beyond_the_accept_queue_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with aioquic_pair() as (client, server):
        server._accepting.limit = 5
        streams = [await client.open_stream() for _ in range(8)]
        for stream in streams:
            stream.send_nowait(b"x")
        aborted = asyncio.Event()
        streams[7].set_abort_callback(aborted.set)
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        assert len(server._accepting) == 5
        for stream in streams[:5]:
            assert (await server.accept_stream()).stream_id == stream.stream_id


async def test_a_flood_of_resets_leaves_no_state_and_reaches_no_handler() -> None:
    async with aioquic_pair() as (client, server):
        handed: list[Stream] = []
        server.set_stream_handler(handed.append)
        client.core._local_next_stream_id_bidi = 4 * 3000
        for start in range(0, 3000, 100):
            inject(client, *(reset_frame(4 * n, 0, 0) for n in range(start, start + 100)))
            await asyncio.sleep(0)
        await until(lambda: server.core._local_max_streams_bidi.used == 3000, "all resets arrived")
        await until(lambda: not server.core.live_streams, "reset streams are forgotten")
        assert handed == []
        assert server.statistics().streams_open == 0
        near = await client.open_stream()
        near.send_nowait(b"still served", finish=True)
        await until(lambda: len(handed) == 1, "an honest stream is served")
        assert await read_all(handed[0]) == b"still served"


async def test_pieces_behind_gaps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioquic_receiving, "HELD_PIECES", 100)
    frames = [stream_frame(4 * (n % 3), b"x", offset=2 + 2 * (n // 3)) for n in range(120)]
    at_server, _ = await _attack(*frames)
    assert "gaps" in at_server.reason


async def test_held_pieces_are_forgotten_with_their_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioquic_receiving, "HELD_PIECES", 100)

    async with aioquic_pair() as (client, server):
        for number in range(10):
            stream_id = 4 * number
            pieces = [stream_frame(stream_id, b"x", offset=2 + 2 * n) for n in range(50)]
            end = reset_frame(stream_id, 0, 102) if number % 2 else stream_frame(stream_id, bytes(102), ends=True)
            inject(client, *pieces, end)
        await until(lambda: server.core._local_max_streams_bidi.used == 10, "everything arrived")
        await asyncio.sleep(0)
        # The client knows of no such streams, and may have ended the connection because of what it got for them.
        assert server.closed is None or not server.closed.local
        assert server.core._held_pieces == 0


async def test_reset_data_that_was_never_delivered_gives_its_credit_back() -> None:
    async with aioquic_pair(server_settings=SMALL) as (client, server):
        client.core._local_next_stream_id_bidi = 80
        for number in range(20):
            inject(client, stream_frame(4 * number, b"x", offset=9_999), reset_frame(4 * number, 0, 10_000))
            await until(lambda n=number: server.core._local_max_streams_bidi.used > n, "it arrived")  # type: ignore[misc]
        assert server.closed is None
        client.core._remote_max_data_used = 20 * 10_000
        near, far = await open_both(client, server)
        near.send_nowait(bytes(5000), finish=True)
        assert len(await read_all(far)) == 5000


async def test_streams_held_back_by_a_peer_without_credit_are_forgotten_with_their_end() -> None:
    no_credit = QuicSettings(
        initial_stream_window=16384, stream_window=16384, initial_connection_window=0, connection_window=0
    )
    async with aioquic_pair(no_credit, QuicSettings()) as (client, server):

        def answer(stream: Stream) -> None:
            stream.send_nowait(bytes(1000))

        server.set_stream_handler(answer)
        client.core._local_next_stream_id_bidi = 4 * 50
        inject(client, *(stream_frame(4 * number, b"x") for number in range(50)))
        await until(lambda: len(server.core._held_back) == 50, "answers wait for credit")
        inject(client, *(numbers(0x05, 4 * number, 0) + reset_frame(4 * number, 0, 1) for number in range(50)))
        await until(lambda: not server.core.live_streams, "aborted streams are forgotten")
        assert not server.core._held_back


async def test_damaged_and_foreign_packets_are_ignored() -> None:
    chance = random.Random(3)
    async with serve() as server, relay_to(server.listener.address) as relay:
        seen: list[bytes] = []

        def remember(data: bytes, up: bool) -> int:
            if up:
                seen.append(data)
            return 1

        relay.filter = remember
        client = await dial(relay.address)
        far_end = await server.next()
        near, far = await open_both(client, far_end)
        for data in seen:
            for _ in range(5):
                damaged = bytearray(data)
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
                relay.send_to_listener(bytes(damaged))
            relay.send_to_listener(data)  # a duplicate
            relay.send_to_listener(data[: chance.randrange(len(data))])
        for size in (0, 1, 8, 20, 1200, 1500):
            relay.send_to_listener(chance.randbytes(size))
            relay.send_to_listener(b"\xc0" + chance.randbytes(size))
        near.send_nowait(b"unharmed", finish=True)
        assert await read_all(far) == b"unharmed"
        assert server.arrived.empty()
        client.close()


async def test_first_packets_that_nothing_opens_leave_nothing_behind() -> None:
    async with serve() as server, relay_to(server.listener.address) as relay:
        made: list[bytes] = []
        original = server.listener._make_connection

        def watch(first_id: bytes, *rest: object) -> object:
            made.append(first_id)
            return original(first_id, *rest)  # type: ignore[arg-type]

        server.listener._make_connection = watch  # type: ignore[method-assign,assignment]
        chance = random.Random(2)
        for _ in range(20):
            first_id = chance.randbytes(8)
            header = b"\xc3\x00\x00\x00\x01\x08" + first_id + b"\x00\x00\x44\xb0"
            relay.send_to_listener(header + chance.randbytes(1200))
        await until(lambda: len(made) == 20, "all were looked at")
        await asyncio.sleep(0)
        assert repr(server.listener).endswith("connections=0 half_open=0 ids=0>")


async def test_a_user_may_close_from_the_handler_of_streams() -> None:
    async with aioquic_pair() as (client, server):
        server.set_stream_handler(lambda _: server.close(9, "enough"))
        for _ in range(5):
            stream = await client.open_stream()
            stream.send_nowait(b"x")
        info = await asyncio.wait_for(client.wait_closed(), PATIENCE)
        assert (info.code, info.reason) == (9, "enough")
        assert server.statistics().streams_open == 0


async def test_random_frames_end_a_connection_at_worst() -> None:
    chance = random.Random(4)
    async with serve() as server:
        for _ in range(40):
            client = await dial(server.listener.address)
            far_end = await server.next()
            for _ in range(20):
                inject(client, bytes((chance.randrange(0x20),)) + chance.randbytes(chance.randrange(1, 60)))
            await asyncio.sleep(0.002)
            client.close()
            await asyncio.wait_for(far_end.wait_closed(), PATIENCE)
        client = await dial(server.listener.address)
        near, far = await open_both(client, await server.next())
        near.finish()
        assert await read_all(far) == b""
        client.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_unknown_versions_are_answered_with_the_one_there_is(seed: int) -> None:
    async with serve() as server, relay_to(server.listener.address) as relay:
        answers: list[bytes] = []

        def remember(data: bytes, up: bool) -> int:
            if not up:
                answers.append(data)
            return 0

        relay.filter = remember
        hello = b"\xc0\x0a\x1a\x2a\x3a\x08" + random.Random(seed).randbytes(8) + b"\x00"
        relay.send_to_listener(hello + bytes(1200))
        relay._client = ("127.0.0.1", 9)
        await until(lambda: bool(answers), "a version negotiation packet")
        assert answers[0][1:5] == bytes(4)
        assert answers[0].endswith(b"\x00\x00\x00\x01")


async def test_an_accept_loop_hears_of_the_end() -> None:
    async with aioquic_pair() as (client, server):
        waiting = asyncio.create_task(server.accept_stream())
        await asyncio.sleep(0)
        inject(client, numbers(0x3F))
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(waiting, PATIENCE)
        assert caught.value.code == FRAME_ENCODING
