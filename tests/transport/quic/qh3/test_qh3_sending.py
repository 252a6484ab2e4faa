"""When packets of the qh3 engine leave: what shares one, and what an acknowledgement waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")


from pyconnector.transport.quic.qh3_engine import driver as qh3_driver
from tests.transport.conformance import exchange, read_all, until
from tests.transport.pairs.qh3_pair import qh3_pair

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection


async def test_much_that_is_written_in_one_turn_leaves_in_parts_and_little_leaves_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qh3_driver, "FLUSH_BYTES", 800)  # so that congestion control has no say in it

    async with qh3_pair() as (near, far):
        await exchange(near, far)
        streams = [await near.open_stream() for _ in range(31)]
        flushed: list[int] = []  # and not what was sent: the core may pace that
        flush, written = near.flush, 0

        def counted() -> None:
            flushed.append(written)
            flush()

        near.flush = counted  # type: ignore[method-assign]
        answer = bytes(100)
        for stream in streams:
            written += 1
            stream.send_nowait(answer, finish=True)
        assert flushed == [8, 16, 24]
        await until(lambda: len(flushed) > 3, "the rest, with the next turn")
        assert flushed[3] == 31
        for _ in streams:
            assert await read_all(await far.accept_stream()) == answer


class Sent:
    """Counts the datagrams that an end sends from now on."""

    def __init__(self, connection: Qh3Connection) -> None:
        self.count = 0
        self._send = connection.endpoint.send
        connection.endpoint.send = self._counted  # type: ignore[method-assign]

    def _counted(self, datagrams: Any) -> None:
        self.count += len(datagrams)
        self._send(datagrams)


async def settled(client: Qh3Connection, server: Qh3Connection) -> None:
    """Wait until nothing of the handshake is left to be acknowledged."""
    await exchange(client, server)
    await until(lambda: not client.core.bytes_in_flight and not server.core.bytes_in_flight, "silence")


async def test_an_acknowledgement_rides_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with qh3_pair() as (client, server):
        await settled(client, server)
        monkeypatch.setattr(qh3_driver, "ACK_DELAY", 10.0)
        sent = Sent(client)
        for _ in range(3):
            asked = await server.open_stream()
            asked.send_nowait(b"question", finish=True)
            answering = await client.accept_stream()
            answering.send_nowait(b"answer", finish=True)
            assert await read_all(asked) == b"answer"
        assert sent.count == 3


async def test_an_acknowledgement_waits_for_nothing_but_the_next_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    async with qh3_pair() as (client, server):
        await settled(client, server)
        monkeypatch.setattr(qh3_driver, "ACK_DELAY", 10.0)
        sent = Sent(client)
        asked = await server.open_stream()
        asked.send_nowait(b"first")
        reading = await client.accept_stream()
        assert await reading.receive() == b"first"
        await asyncio.sleep(0.002)  # some turns of the loop, and far from the peer's probe
        assert sent.count == 0
        asked.send_nowait(b"second")
        await until(lambda: sent.count == 1, "the acknowledgement of two packets")
        assert await reading.receive() == b"second"


async def test_an_acknowledgement_that_nothing_takes_along_leaves_in_time() -> None:
    async with qh3_pair() as (client, server):
        await settled(client, server)
        asked = await server.open_stream()
        asked.send_nowait(b"question")
        await client.accept_stream()
        began = asyncio.get_running_loop().time()
        await until(lambda: not server.core.bytes_in_flight, "the acknowledgement of one packet")
        took = asyncio.get_running_loop().time() - began
        # Before the peer would take the packet for lost, which is its estimate of the round trip and 25 ms.
        assert took < 0.3


async def test_neither_an_old_timer_nor_a_packet_without_news_makes_an_acknowledgement_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with qh3_pair() as (client, server):
        await settled(client, server)
        monkeypatch.setattr(qh3_driver, "ACK_DELAY", 10.0)
        sent = Sent(client)
        asked = await server.open_stream()
        asked.send_nowait(b"question")
        answering = await client.accept_stream()
        client._on_timer()  # as one that was set for an acknowledgement which has ridden along meanwhile
        received = client.endpoint.counts.received
        server.core.send_ping(0)
        server.flush()
        await until(lambda: client.endpoint.counts.received > received, "the packet without news")
        await asyncio.sleep(0.002)
        assert sent.count == 0
        answering.send_nowait(b"answer", finish=True)
        assert sent.count == 1
        await until(lambda: not server.core.bytes_in_flight, "the acknowledgement of all")
