"""The smallest frames a visitor can send, from one and from a hundred: everybody else still gets turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyconnector.origins.builtin.hello_echo import EchoTunnel
from pyconnector.origins.net.channel import pump
from pyconnector.origins.websocket import FrameReader
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FRAMES_AT_ONCE, FrameDecoder
from tests.support.loop.turns import TurnMeter
from tests.support.peers.frames import masked

if TYPE_CHECKING:
    pass

SMALLEST = {
    "one byte": masked(frames.BINARY, b"x"),
    "no byte": masked(frames.BINARY),
    "text": masked(frames.TEXT, b"x"),
    "ping": masked(frames.PING),
    "pong": masked(frames.PONG),
    "fragments": masked(frames.BINARY, b"x", fin=False) + masked(frames.CONTINUATION, b"x"),
}


class Flood:
    """A visitor's body that is always there: never a reason to wait."""

    def __init__(self, unit: bytes, size: int) -> None:
        self._wire = unit * (size // len(unit))

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        data, self._wire = self._wire[:limit], self._wire[limit:]
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        data = self.receive_nowait(limit)
        assert data is not None
        return data


class Service:
    """A channel that takes everything at once."""

    write_paused = False

    def __init__(self) -> None:
        self.size = self.writes = 0
        self.ended = False

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.writes += 1

    def write_eof(self) -> None:
        self.ended = True


class Visitor:
    """What a reader tells its tunnel."""

    def __init__(self) -> None:
        self.pings = 0

    def answer_ping(self, payload: bytes) -> None:
        self.pings += 1

    def visitor_spoke(self) -> None:
        pass


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("streams", [1, 100])
@pytest.mark.parametrize("kind", SMALLEST)
async def test_tiny_frames_take_turns(monkeypatch: pytest.MonkeyPatch, kind: str, streams: int) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(FrameDecoder, "feed", meter.counting(FrameDecoder.feed, len))
    size = 1_000_000 // streams

    services = [Service() for _ in range(streams)]
    with meter:
        async with asyncio.TaskGroup() as group:
            for service in services:
                reader = FrameReader(Flood(SMALLEST[kind], size), cast("Any", Visitor()))
                group.create_task(pump(reader, cast("Any", service)))
    assert all(service.ended for service in services)
    assert meter.total > 100_000
    assert meter.most <= 2 * streams * FRAMES_AT_ONCE, "more frames than allowed in one turn of the loop"
    assert meter.turns >= meter.total // meter.most, "turns"
    payload = {"one byte": size // 7, "fragments": size // 14 * 2}.get(kind, 0)
    assert {service.size for service in services} == {payload}
    # Written as they were read, many at once: a write for each byte would cost more than reading it.
    assert max(service.writes for service in services) <= payload // (FRAMES_AT_ONCE // 4)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("kind", SMALLEST)
async def test_an_echo_of_tiny_frames_takes_turns(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(FrameDecoder, "feed", meter.counting(FrameDecoder.feed, len))

    tunnel = EchoTunnel([])
    with meter:
        tunnel.echo(Flood(SMALLEST[kind], 300_000))
        received = 0
        while data := await tunnel.receive():
            received += len(data)
    await tunnel.finish()
    assert meter.total > 40_000
    assert meter.most <= 2 * FRAMES_AT_ONCE
    assert (received > 0) is (kind != "pong")


def test_frames_beyond_one_turn_wait_without_being_lost() -> None:
    decoder = FrameDecoder()
    wire = b"".join(masked(frames.BINARY, bytes([number % 251])) for number in range(1000)) + masked(frames.PING)[:1]
    found = decoder.feed(wire)
    assert len(found) == FRAMES_AT_ONCE
    while decoder.has_more:
        more = decoder.feed(b"")
        assert len(more) <= FRAMES_AT_ONCE
        found += more
    assert [item.payload[0] for item in found] == [number % 251 for number in range(1000)]
    assert len(decoder.feed(masked(frames.PING)[1:])) == 1
    assert not decoder.is_within


@pytest.mark.usefixtures("each_loop")
async def test_a_visitor_who_says_close_among_many_frames_is_heard() -> None:
    class Closing(Visitor):
        code = 0

        def visitor_closes(self, code: int) -> None:
            self.code = code

    visitor, service = Closing(), Service()
    wire = SMALLEST["one byte"] * 200 + masked(frames.CLOSE, b"\x03\xe8") + SMALLEST["one byte"] * 200
    await pump(FrameReader(Flood(wire, len(wire)), cast("Any", visitor)), cast("Any", service))
    assert (service.size, service.ended, visitor.code) == (200, True, 1000)
