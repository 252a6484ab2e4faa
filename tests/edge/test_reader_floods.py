"""The smallest units that a connector can send the edge: a flood of them leaves turns to everybody else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyconnector.edge.connectors.quic.framed_body import FramedBody
from pyconnector.edge.turns import JOBS_A_TURN, Turns
from pyconnector.edge.visitors.sockets import VisitorSocket
from pyconnector.edge.visitors.tcp.two_way import TwoWay
from pyconnector.edge.visitors.tcp.websocket_client import WebSocketCarriage
from pyconnector.protocol.streams import trailers
from pyconnector.protocol.streams.trailers import FramedBodyDecoder, encode_data, encode_trailers
from pyconnector.web.websocket.frames import FRAMES_AT_ONCE, FrameDecoder
from tests.edge.tcp.test_websocket_client import server_frame
from tests.support.loop.turns import TurnMeter

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = {
    "one byte": server_frame(2, b"x"),
    "no byte": server_frame(2, b""),
    "text": server_frame(1, b"x"),
    "ping": server_frame(9, b""),
    "pong": server_frame(10, b""),
}


class Flood:
    """A stream of a connector whose bytes are always there."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self.sent = 0

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        data, self._wire = self._wire[:limit], self._wire[limit:]
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        data = self.receive_nowait(limit)
        assert data is not None
        return data

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        self.sent += len(data)
        return False

    def set_abort_callback(self, callback: Callable[[], None] | None) -> None:
        pass

    def stop(self) -> None:
        pass


class Exchange:
    def __init__(self, stream: Flood) -> None:
        self.stream = stream

    def close(self) -> None:
        pass

    abort = close


class Visitor(asyncio.Transport):
    """A socket that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def write(self, data: Any) -> None:
        self.size += len(data)

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("streams", [1, 100])
@pytest.mark.parametrize("kind", FRAMES)
async def test_tiny_frames_of_a_connector_take_turns(monkeypatch: pytest.MonkeyPatch, kind: str, streams: int) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(FrameDecoder, "_header", meter.counting(FrameDecoder._header, lambda begin: 1))
    count = 200_000 // streams
    turns = Turns()

    async def carry(visitor: Visitor) -> None:
        exchange: Any = Exchange(Flood(FRAMES[kind] * count))
        two_way = TwoWay(VisitorSocket(visitor), exchange, cast("Any", None), turns, WebSocketCarriage(os.urandom))
        two_way.visitor_ended()
        assert await two_way.run(b"")

    visitors = [Visitor() for _ in range(streams)]
    with meter:
        async with asyncio.TaskGroup() as group:
            for visitor in visitors:
                group.create_task(carry(visitor))
    assert meter.total >= 200_000
    assert meter.most <= (streams + JOBS_A_TURN) * FRAMES_AT_ONCE
    assert {visitor.size for visitor in visitors} == {count if len(FRAMES[kind]) == 3 else 0}


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("streams", [1, 100])
async def test_bodies_in_tiny_frames_take_turns(monkeypatch: pytest.MonkeyPatch, streams: int) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(
        FramedBodyDecoder, "_begin_frame", meter.counting(FramedBodyDecoder._begin_frame, lambda nothing: 1)
    )
    count = 100_000 // streams
    wire = encode_data(b"x") * count + encode_trailers([(b"a", b"1")])

    async def read() -> None:
        flood: Any = Flood(wire[7:])
        body = FramedBody(flood, wire[:7])
        size = 0
        while True:
            data = body.receive_nowait(262_144)
            if data is None:
                data = await body.receive(262_144)
            if not data:
                break
            size += len(data)
        assert size == count
        assert body.trailers == [(b"A", b"1")] or body.trailers == [(b"a", b"1")]

    with meter:
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(read())
    assert meter.total >= 100_000
    assert meter.most <= 2 * streams * trailers.FRAMES_AT_ONCE


@pytest.mark.parametrize("size", [1, 3, 200_000])
def test_frames_beyond_one_turn_wait_without_being_lost(size: int) -> None:
    carriage = WebSocketCarriage(os.urandom)
    wire = b"".join(server_frame(2, bytes([number % 251])) for number in range(1000)) + server_frame(8, b"")
    found = b""
    closed = False
    for at in range(0, len(wire), size):
        data = wire[at : at + size]
        while data or carriage.has_more:
            payload, _, closed = carriage.from_stream(data)
            assert len(payload) <= FRAMES_AT_ONCE
            found += payload
            data = b""
    assert closed
    assert found == bytes(number % 251 for number in range(1000))
