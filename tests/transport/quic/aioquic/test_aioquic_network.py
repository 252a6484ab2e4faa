"""What the network does to a connection: loss, silence, a NAT that forgets, paths that swallow large datagrams."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.quic.aioquic_engine.recovery import QuickAcks
from pyconnector.transport.quic.aioquic_engine.sending import PROBE_LIMIT, SMALL_PROBES
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE, open_both, read_all, send_all, until
from tests.transport.pairs.aioquic_pair import dial, serve
from tests.transport.pairs.relay import LossyFilter, Relay, relay_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection


@asynccontextmanager
async def relayed_pair(
    settings: QuicSettings | None = None,
) -> AsyncIterator[tuple[AioquicConnection, AioquicConnection, Relay]]:
    async with serve(settings) as server, relay_to(server.listener.address) as relay:
        client = await dial(relay.address, settings)
        try:
            yield client, await server.next(), relay
        finally:
            client.close()


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize("control", ["bbr", "cubic", "reno"])
async def test_everything_arrives_through_loss_and_doubled_datagrams(control: str) -> None:
    data = random.Random(5).randbytes(400_000)

    settings = QuicSettings(congestion_control=control, largest_packet_size=1232)
    async with relayed_pair(settings) as (client, server, relay):
        relay.filter = LossyFilter(loss=0.03, double=0.03, seed=6)
        near, far = await open_both(client, server)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(near, data))
            group.create_task(send_all(far, data))
            there = group.create_task(read_all(far))
            back = group.create_task(read_all(near))
        assert there.result() == data
        assert back.result() == data
        assert (client.statistics().packets_lost or 0) + (server.statistics().packets_lost or 0) > 0
        await until(lambda: client.statistics().streams_open == 0, "the stream is forgotten")


@pytest.mark.usefixtures("loop_errors")
async def test_lost_aborts_are_repeated() -> None:
    async with relayed_pair() as (client, server, relay):
        near, far = await open_both(client, server)
        aborted = asyncio.Event()
        far.set_abort_callback(aborted.set)
        relay.filter = lambda _data, _up: 0
        near.reset(7)
        near.stop(8)
        await asyncio.sleep(0.02)
        relay.filter = lambda _data, _up: 1
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        await until(lambda: client.statistics().streams_open == 0, "both aborts were acknowledged")
        await until(lambda: server.statistics().streams_open == 0, "both aborts were answered")


@pytest.mark.usefixtures("loop_errors")
async def test_a_connection_survives_a_nat_that_forgets() -> None:
    async with relayed_pair() as (client, server, relay):
        near, far = await open_both(client, server)
        old = server.peer_address
        received = asyncio.create_task(read_all(far))
        for step in range(60):
            await asyncio.wait_for(near.send(bytes(20_000)), PATIENCE)
            if step % 20 == 10:
                relay.rebind()
        near.finish()
        assert len(await received) == 60 * 20_000
        far.send_nowait(b"to the new address", finish=True)
        assert await read_all(near) == b"to the new address"
        assert server.peer_address != old
        assert server.closed is None
        await until(lambda: server.core._network_paths[0].is_validated, "the new path is validated")


@pytest.mark.usefixtures("loop_errors")
async def test_a_rebinding_while_idle_is_noticed_by_the_keepalive() -> None:
    settings = QuicSettings(keepalive=0.1, idle_timeout=20.0)
    async with relayed_pair(settings) as (client, server, relay):
        await until(lambda: server.core.mtu.size == 16384, "the old path carries large datagrams")
        old = server.peer_address
        relay.rebind()
        relay.filter = lambda data, up: int(up or len(data) <= 1232)
        await until(lambda: server.peer_address != old, "the server follows")
        assert server.core.mtu.size == 1232, "nothing is known of the new path"
        await until(lambda: server.core._network_paths[0].is_validated, "the new path is validated")
        near, far = await open_both(server, client)
        assert near.stream_id == far.stream_id == 1


@pytest.mark.usefixtures("loop_errors")
async def test_silence_ends_a_connection_as_idle() -> None:
    settings = QuicSettings(idle_timeout=0.3, keepalive=0.1)
    async with relayed_pair(settings) as (client, server, relay):
        near, _far = await open_both(client, server)
        relay.filter = lambda _data, _up: 0
        with pytest.raises(ConnectionClosed, match=r"nothing was heard from the peer for 0\.3 s") as caught:
            await asyncio.wait_for(near.receive(), PATIENCE)
        assert caught.value.idle
        assert not caught.value.local
        info = await asyncio.wait_for(server.wait_closed(), PATIENCE)
        assert info.idle


@pytest.mark.usefixtures("loop_errors")
async def test_the_keepalive_holds_an_idle_connection_and_nothing_else_does() -> None:
    settings = QuicSettings(idle_timeout=0.4, keepalive=0.1, largest_packet_size=1232)
    async with relayed_pair(settings) as (client, server, _relay):
        await asyncio.sleep(1.0)
        assert client.closed is None
        assert server.closed is None
        assert client.statistics().bytes_sent < 8_000
    async with relayed_pair(QuicSettings(idle_timeout=0.4, keepalive=0.0)) as (client, server, _relay):
        assert (await asyncio.wait_for(client.wait_closed(), PATIENCE)).idle
        assert (await asyncio.wait_for(server.wait_closed(), PATIENCE)).idle


@pytest.mark.usefixtures("loop_errors")
async def test_datagrams_grow_to_what_loopback_carries() -> None:
    async with relayed_pair() as (client, server, relay):
        await until(lambda: client.core.mtu.size == server.core.mtu.size == 16384, "the path was probed")
        near, far = await open_both(client, server)
        received = asyncio.create_task(read_all(far))
        await send_all(near, bytes(300_000))
        assert len(await received) == 300_000
        assert relay.largest == 16384
        # A datagram of the user may be as large, and no larger.
        assert client.send_datagram(bytes(16_000))
        assert await asyncio.wait_for(server.receive_datagram(), PATIENCE) == bytes(16_000)
        assert not client.send_datagram(bytes(16_384))


@pytest.mark.usefixtures("loop_errors")
async def test_no_datagram_exceeds_what_the_path_carries() -> None:
    async with serve() as server, relay_to(server.listener.address) as relay:
        relay.filter = lambda data, _up: int(len(data) <= 1472)
        client = await dial(relay.address)
        far_end = await server.next()
        await until(lambda: client.core.mtu.size == far_end.core.mtu.size == 1452, "the path was probed")
        near, far = await open_both(client, far_end)
        received = asyncio.create_task(read_all(far))
        await send_all(near, bytes(300_000))
        assert len(await received) == 300_000
        assert relay.largest == 1452
        client.close()


@pytest.mark.usefixtures("loop_errors")
async def test_a_path_that_begins_to_swallow_large_datagrams_is_survived() -> None:
    async with relayed_pair() as (client, server, relay):
        await until(lambda: client.core.mtu.size == 16384, "the path was probed")
        relay.filter = lambda data, _up: int(len(data) <= 1300)
        near, far = await open_both(client, server)
        received = asyncio.create_task(read_all(far))
        await send_all(near, bytes(200_000))
        assert len(await received) == 200_000
        assert client.core.mtu.size == 1232


@pytest.mark.usefixtures("loop_errors")
async def test_the_peers_largest_datagram_is_respected() -> None:
    settings = QuicSettings(largest_packet_size=1232)
    async with relayed_pair(settings) as (client, server, relay):
        near, far = await open_both(client, server)
        received = asyncio.create_task(read_all(far))
        await send_all(near, bytes(100_000))
        assert len(await received) == 100_000
        assert relay.largest == 1232


@pytest.mark.usefixtures("loop_errors")
async def test_no_first_frame_of_a_stream_is_tiny() -> None:
    settings = QuicSettings(largest_packet_size=1232)
    async with relayed_pair(settings) as (client, server, _relay):
        first: list[int] = []
        original = server.core._handlers[0x0A]

        def watch(context: object, frame_type: int, buffer: object) -> None:
            at = buffer.tell()  # type: ignore[attr-defined]
            buffer.pull_uint_var()  # type: ignore[attr-defined]
            first.append(buffer.pull_uint_var())  # type: ignore[attr-defined]
            buffer.seek(at)  # type: ignore[attr-defined]
            original(context, frame_type, buffer)

        server.core._handlers[0x0A] = server.core._handlers[0x0B] = watch
        server.set_stream_handler(lambda stream: stream.reset())
        # Whatever the first stream of a packet leaves, the second must not begin in a rest of a few bytes.
        for size in range(1130, 1210):
            for length in (size, 500):
                stream = await client.open_stream()
                stream.send_nowait(bytes(length), finish=True)
            await until(lambda: not client.core._active, "both were sent")
        await until(lambda: client.statistics().streams_open == 0, "everything was sent")
        assert len(first) >= 160
        assert min(first) >= 8


@pytest.mark.usefixtures("loop_errors")
async def test_many_connections_share_one_socket() -> None:
    async with serve() as server:
        clients = await asyncio.gather(*(dial(server.listener.address) for _ in range(12)))
        ends = {end.peer_address: end for end in [await server.next() for _ in clients]}

        async def exchange(client: AioquicConnection, number: int) -> None:
            near, far = await open_both(client, ends[client.local_address], b"%d" % number)
            near.send_nowait(bytes(number * 1000), finish=True)
            assert len(await read_all(far)) == number * 1000

        await asyncio.gather(*(exchange(client, number) for number, client in enumerate(clients)))
        for client in clients:
            client.close()
        await until(lambda: "connections=0" in repr(server.listener), "all are forgotten")
        assert repr(server.listener).endswith("ids=0>")


@pytest.mark.usefixtures("loop_errors")
async def test_a_client_may_change_its_connection_id() -> None:
    async with relayed_pair() as (client, server, _relay):
        near, far = await open_both(client, server)
        for number in range(20):
            await until(lambda: bool(client.core._peer_cid_available), "spare ids arrive")
            client.core.change_connection_id()
            near.send_nowait(b"%02d" % number)
            received = b""
            while len(received) < 2:
                received += await asyncio.wait_for(far.receive(), PATIENCE)
            assert received == b"%02d" % number
        assert len(server.core._host_cids) <= 8


@pytest.mark.usefixtures("loop_errors")
async def test_new_keys_are_followed() -> None:
    async with relayed_pair() as (client, server, _relay):
        near, far = await open_both(client, server)
        for round_number in range(3):
            client.core.request_key_update()
            await near.send(b"new keys")
            assert await asyncio.wait_for(far.receive(), PATIENCE) == b"new keys"
            await far.send(b"and back")
            assert await asyncio.wait_for(near.receive(), PATIENCE) == b"and back"
            assert client.core._keys.key_phase == server.core._keys.key_phase == (round_number + 1) % 2


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize(("round_trip", "window_size"), [(60.0, 1 << 20), (0.0, 65536)])
async def test_windows_grow_where_the_reader_keeps_up_with_the_round_trip(
    monkeypatch: pytest.MonkeyPatch, round_trip: float, window_size: int
) -> None:
    monkeypatch.setattr(QuickAcks, "round_trip", round_trip)

    settings = QuicSettings(
        initial_stream_window=65536,
        stream_window=1 << 20,
        initial_connection_window=98304,
        connection_window=4 << 20,
    )
    async with relayed_pair(settings) as (client, server, _relay):
        near, far = await open_both(client, server)
        window = server.core.live_streams[0].window
        received = asyncio.create_task(read_all(far))
        largest = window.size
        for _ in range(100):
            await asyncio.wait_for(near.send(bytes(65536)), PATIENCE)
            largest = max(largest, window.size)
        near.finish()
        assert len(await received) == 100 * 65536
        assert largest == window_size
        assert window.size == 65536, "what it grew by is for others once it is over"
        assert server.core.connection_window.size == (4 << 20 if round_trip else 98304)


@pytest.mark.usefixtures("loop_errors")
async def test_a_farewell_that_was_lost_is_repeated() -> None:
    async with relayed_pair() as (client, server, relay):
        near, _far = await open_both(client, server)
        relay.filter = lambda _data, up: int(up)
        server.close(5, "bye")
        await asyncio.sleep(0.01)
        relay.filter = lambda _data, _up: 1
        near.send_nowait(b"are you there?")
        info = await asyncio.wait_for(client.wait_closed(), PATIENCE)
        assert (info.code, info.reason) == (5, "bye")


@pytest.mark.usefixtures("loop_errors")
async def test_probes_are_never_far_apart() -> None:
    async with relayed_pair() as (client, server, relay):
        near, _ = await open_both(client, server)
        relay.filter = lambda _data, _up: 0
        await near.send(bytes(10_000))
        await until(lambda: client.core.recovery.probe_count >= 1, "a probe went")
        client.core.recovery._pto_count = 12
        due = client.core.get_timer()
        assert due is not None
        assert due - time.monotonic() <= PROBE_LIMIT


@pytest.mark.usefixtures("loop_errors")
async def test_probes_without_answers_are_small_in_the_end() -> None:
    async with relayed_pair() as (client, server, relay):
        near, _ = await open_both(client, server)
        sizes: list[int] = []

        def swallow(data: bytes, up: bool) -> int:
            if up and client.core.recovery.probe_count:
                sizes.append(len(data))
            return 0

        relay.filter = swallow
        await near.send(bytes(200_000))
        await until(lambda: client.core.recovery.probe_count > SMALL_PROBES, "probes went unanswered")
        assert [size for size in sizes if size < 100], sizes
