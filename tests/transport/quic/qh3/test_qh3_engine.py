"""The qh3 engine on the network: paths that change and lose, silence, and details of the engine."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")


from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.quic.aioquic_engine.stream import AioquicStream
from pyconnector.transport.quic.qh3_engine import connection as qh3_connection
from pyconnector.transport.quic.qh3_engine import driver as qh3_driver
from pyconnector.transport.quic.qh3_engine import engine as qh3_engine
from tests.transport.conformance import PATIENCE, exchange, open_both, read_all, send_all, until
from tests.transport.pairs.qh3_pair import USUAL, accepted, dial, qh3_pair, quic_pair, serve
from tests.transport.pairs.qh3_relay import Relay, relay_to
from tests.transport.udp.test_udp import Shim

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
    from pyconnector.transport.settings import QuicSettings

# -- paths -----------------------------------------------------------------------------------------------------------


async def test_a_connection_survives_another_port_in_the_middle_of_a_transfer() -> None:
    async with serve(USUAL) as server, relay_to(server.listener.address) as relay:
        client = await dial(relay.address)
        far = await accepted(server)
        assert far.peer_address == relay.outer_address
        near, other = await open_both(client, far)
        sending = asyncio.create_task(send_all(near, bytes(3_000_000)))
        received = 0
        while received < 500_000:
            received += len(await asyncio.wait_for(other.receive(), PATIENCE))
        await relay.rebind()
        assert received + len(await read_all(other)) == 3_000_000
        await sending
        await until(lambda: far.peer_address == relay.outer_address, "the new address is validated")
        await exchange(far, client)
        client.close()


async def test_lost_repeated_late_and_spoilt_packets_harm_nothing() -> None:
    chance = random.Random(5)

    def mangle(data: bytes) -> list[bytes]:
        what = chance.random()
        if what < 0.02:
            return []
        if what < 0.04:
            return [data, data]
        if what < 0.06:
            at = chance.randrange(len(data))
            return [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], data]
        return [data]

    async with serve(USUAL) as server, relay_to(server.listener.address) as relay:
        client = await dial(relay.address)
        far = await accepted(server)
        relay.to_client = relay.to_server = mangle
        data = random.Random(6).randbytes(300_000)
        for opener, acceptor in ((client, far), (far, client)):
            near, other = await open_both(opener, acceptor)
            sending = asyncio.create_task(send_all(near, data))
            assert await read_all(other) == data
            await sending
        assert client.statistics().packets_lost
        client.close()


async def _over_relay(
    settings: QuicSettings, act: Callable[[Qh3Connection, Qh3Connection, Relay], Coroutine[Any, Any, None]]
) -> None:
    async with serve(settings) as server, relay_to(server.listener.address) as relay:
        client = await dial(relay.address, settings)
        await act(client, await accepted(server), relay)
        client.close()


class Clock:
    """What the engine takes for the time; a test sets it forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(qh3_driver, "monotonic", made)
    monkeypatch.setattr(qh3_connection, "monotonic", made)
    return made


# Longer than any test may last, and PINGs that come soon enough to be waited for.
PATIENT = replace(USUAL, idle_timeout=60.0, keepalive=0.1)


async def test_silence_ends_a_connection_on_both_sides(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        near, _ = await open_both(client, far)
        relay.is_cut = True
        clock.ahead += 2 * PATIENT.idle_timeout
        for end in (client, far):
            info = await asyncio.wait_for(end.wait_closed(), PATIENCE)
            assert (info.idle, info.local) == (True, False)
        with pytest.raises(ConnectionClosed, match=r"nothing was heard .* for 60 s") as caught:
            await near.receive()
        assert caught.value.idle

    await _over_relay(PATIENT, act)


async def test_keepalive_bridges_idleness(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        for _ in range(4):  # nearly three times as long as silence may last
            heard = client.statistics().bytes_received, far.statistics().bytes_received
            clock.ahead += 0.7 * PATIENT.idle_timeout
            await until(
                lambda before=heard: all(  # type: ignore[misc]
                    end.closed is not None or end.statistics().bytes_received > count
                    for end, count in zip((client, far), before, strict=True)
                ),
                "a PING and its answer",
            )
        assert client.closed is None
        assert far.closed is None

    await _over_relay(PATIENT, act)


async def test_without_keepalive_idleness_ends_it(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        clock.ahead += 2 * PATIENT.idle_timeout
        client._on_timer()
        assert (await asyncio.wait_for(client.wait_closed(), PATIENCE)).idle

    await _over_relay(replace(PATIENT, keepalive=600.0), act)


async def test_a_full_socket_delays_and_loses_nothing() -> None:
    async with qh3_pair() as (client, far):
        shim = Shim(client.endpoint._socket)
        client.endpoint._socket = shim  # type: ignore[assignment]
        near, other = await open_both(client, far)
        for name in ("send", "sendmsg"):
            shim.refusals[name] = [BlockingIOError("full") for _ in range(5)]
        sending = asyncio.create_task(send_all(near, bytes(1_000_000)))
        assert len(await read_all(other)) == 1_000_000
        await sending
        assert client.endpoint.dropped == 0
        assert not shim.refusals["sendmsg"]


# -- details of the engine -------------------------------------------------------------------------------------------


async def test_the_first_frame_of_a_stream_holds_what_was_written_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first: dict[int, int] = {}
    real = AioquicStream.stream_frame

    def seen(self: AioquicStream, offset: int, data: bytes, fin: bool) -> int:
        if offset == 0:
            first.setdefault(self.stream_id, len(data))
        return real(self, offset, data, fin)

    monkeypatch.setattr(AioquicStream, "stream_frame", seen)
    chance = random.Random(1)

    async with quic_pair(USUAL, replace(USUAL, engine="aioquic")) as (client, server):
        answering: set[asyncio.Task[None]] = set()

        async def answer(stream: Any) -> None:
            await read_all(stream)
            stream.send_nowait(b"", finish=True)

        server.set_stream_handler(lambda stream: answering.add(asyncio.create_task(answer(stream))))

        async def work() -> None:
            for _ in range(30):
                stream = await client.open_stream()
                stream.send_nowait(bytes(chance.choice([8, 20, 60, 150, 1000])))
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                stream.send_nowait(bytes(chance.choice([10, 5000, 40_000])), finish=True)
                await read_all(stream)

        await asyncio.gather(*(work() for _ in range(32)))
    assert len(first) == 32 * 30
    assert min(first.values()) >= 8


async def test_datagrams_that_congestion_control_holds_back_are_bounded() -> None:
    async with qh3_pair() as (client, far):
        taken: list[bytes] = []
        far.set_datagram_handler(taken.append)
        sent = [client.send_datagram(n.to_bytes(2)) for n in range(qh3_driver.OUTGOING_DATAGRAMS + 8)]
        assert sent == [True] * qh3_driver.OUTGOING_DATAGRAMS + [False] * 8
        async with asyncio.timeout(PATIENCE):
            while len(taken) < qh3_driver.OUTGOING_DATAGRAMS:
                await asyncio.sleep(0.001)
        assert taken == [n.to_bytes(2) for n in range(qh3_driver.OUTGOING_DATAGRAMS)]
        assert client.send_datagram(b"again")


async def test_a_peer_at_its_limit_of_streams_goes_on_as_others_end() -> None:
    async with qh3_pair(server=replace(USUAL, incoming_streams=5)) as (client, far):
        for _ in range(4):
            await client.open_stream()
        for _ in range(50):
            await exchange(client, far)
        assert far.closed is None


async def test_a_late_copy_of_an_old_stream_is_no_new_stream() -> None:
    async with qh3_pair() as (client, far):
        await exchange(client, far)
        await until(lambda: not far.streams, "the stream is forgotten")
        assert not far._is_new(0)
        assert far._is_new(4)


@pytest.mark.usefixtures("each_loop")
async def test_it_works_on_each_loop() -> None:
    async with qh3_pair() as (client, far):
        near, other = await open_both(client, far)
        sending = asyncio.create_task(send_all(near, bytes(1_000_000)))
        assert len(await read_all(other)) == 1_000_000
        await sending
        statistics = client.statistics()
        assert statistics.rtt_smoothed is not None
        assert 0 < statistics.rtt_smoothed < 1


async def test_reprs_show_state_and_no_secrets() -> None:
    async with serve(USUAL) as server:
        client = await dial(server.listener.address)
        far = await accepted(server)
        assert repr(client).startswith("<Qh3Connection peer=('127.0.0.1', ")
        assert "connections=1" in repr(server.listener)
        near, _ = await open_both(client, far)
        assert repr(near) == "<Qh3Stream 0 receiving=open sending=open buffered=0>"
        client.close()
    assert qh3_engine.connect.__doc__
