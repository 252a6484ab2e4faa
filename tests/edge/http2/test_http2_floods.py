"""Floods of the cheapest HTTP/2 frames, from one visitor and from a hundred: others are served, memory is bounded."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pyconnector.edge import VisitorSettings
from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.edge.turns import JOBS_A_TURN
from pyconnector.edge.visitors.http2 import Http2Visitor, incoming
from pyconnector.edge.visitors.http2.connection import AT_ONCE, MAX_DISCARDED, SLICE
from pyconnector.edge.visitors.http2.incoming import Incoming
from pyconnector.edge.visitors.server import VisitorServer
from pyconnector.web.http2.frames import PREFACE, FrameCutter, FrameTooLarge, RawFrame
from tests.edge.http2.support import hello
from tests.edge.http2.test_http2_fuzz import FakeSocket
from tests.edge.support import memory_edge
from tests.support.loop.turns import TurnMeter
from tests.support.peers.h2_visitor import h2_visitor
from tests.support.peers.scripted_connector import connected

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from tests.support.peers.scripted_connector import Exchange

pytestmark = pytest.mark.usefixtures("each_loop")

#: Bytes of one read of the socket, on either loop, and of a frame that is not whole.
READ = 256 * 1024 + 16_384 + 9

_GET = bytes.fromhex("828684") + b"\x41\x08app.test"
_POST = bytes.fromhex("838684") + b"\x41\x08app.test"


def get(stream_id: int) -> bytes:
    return HeadersFrame(stream_id, _GET, flags=["END_HEADERS", "END_STREAM"]).serialize()


#: What opens the flood, and what it repeats.
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "window updates": (b"", WindowUpdateFrame(0, window_increment=1).serialize()),
    "window updates of a stream": (
        HeadersFrame(1, _POST, flags=["END_HEADERS"]).serialize(),
        WindowUpdateFrame(1, window_increment=1).serialize(),
    ),
    "resets of a stream that is over": (
        get(1) + RstStreamFrame(1, 8).serialize(),
        RstStreamFrame(1, 8).serialize(),
    ),
    "pings": (b"", PingFrame(0, b"12345678").serialize()),
    "settings": (b"", SettingsFrame(0, {4: 65_535}).serialize()),
    "many settings": (b"", SettingsFrame(0, dict.fromkeys(range(0x4000, 0x4000 + 2700), 0)).serialize()),
    "priorities": (b"", PriorityFrame(1, stream_weight=3).serialize()),
    "unknown frames": (b"", ExtensionFrame(0x42, 0, 0, b"").serialize()),
    "empty data": (HeadersFrame(1, _POST, flags=["END_HEADERS"]).serialize(), DataFrame(1, b"").serialize()),
    "data of a stream that is over": (get(1) + RstStreamFrame(1, 8).serialize(), DataFrame(1, b"").serialize()),
    "continuations": (HeadersFrame(1, b"").serialize(), ContinuationFrame(1, b"").serialize()),
    "bytes of a body": (HeadersFrame(1, _POST, flags=["END_HEADERS"]).serialize(), DataFrame(1, b"x").serialize()),
}


class Flooder:
    """Writes without end, and reads nothing it need not."""

    def __init__(self, edge: LocalEdge, name: str) -> None:
        self._edge = edge
        self._opening, unit = FLOODS[name]
        self._wire = unit * (64_000 // len(unit) + 1)

    async def connect(self) -> Flooder:
        self._reader, self._writer = await asyncio.open_connection(*self._edge.visitor_address)
        return self

    async def run(self) -> None:
        """Until the edge has had enough."""
        reader, writer = self._reader, self._writer
        drain = asyncio.create_task(self._drain(reader))
        try:
            writer.write(PREFACE + SettingsFrame(0, {}).serialize() + self._opening)
            while not drain.done():
                writer.write(self._wire)
                await writer.drain()
        except OSError:
            pass  # cut off
        finally:
            drain.cancel()
            writer.transport.abort()
            await asyncio.gather(drain, return_exceptions=True)
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(65_536):
            pass


@pytest.mark.parametrize("visitors", [1, 100])
@pytest.mark.parametrize("flood", FLOODS)
async def test_others_are_served_during_a_flood(monkeypatch: pytest.MonkeyPatch, flood: str, visitors: int) -> None:
    # A budget that never ends, so that the turns alone protect the others.
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10**9)
    monkeypatch.setattr(incoming, "MAX_RESETS", 10**9)
    meter = TurnMeter()
    monkeypatch.setattr(Incoming, "work", meter.counting(Incoming.work, lambda used: used))

    async def script(exchange: Exchange) -> None:
        if exchange.value("HttpMethod") == "POST":
            await exchange.body()
        else:
            await hello(exchange)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        connected_ones = [await Flooder(edge, flood).connect() for _ in range(visitors)]
        flooders = [asyncio.create_task(flooder.run()) for flooder in connected_ones]
        await asyncio.sleep(0)  # or its cancellation would come before it began
        probe = await h2_visitor(edge.visitor_address)
        async with probe:
            with meter:
                most = 0
                # Requests of others until much was done for the flood, or it is over.
                while meter.total < 3_000 and not all(task.done() for task in flooders):
                    assert (await probe.ask()).status == 200
                    held = [len(c._incoming) for c in edge._visitors._connections if isinstance(c, Http2Visitor)]
                    most = max(most, *held)
                assert (await probe.ask()).status == 200
        for task in flooders:
            task.cancel()
        await asyncio.gather(*flooders, return_exceptions=True)
        await connector.close()
        assert most <= READ, "more than one read of the socket waits"
        unit = FLOODS[flood][1]
        dearest = RawFrame(unit[3], unit[4], 0, unit).cost
        small = (visitors + 1) * (AT_ONCE + 72)  # one more frame at once, of 2 KiB at most
        assert meter.most <= JOBS_A_TURN * (SLICE + dearest) + small, "more than its share in one turn"
    gc.collect()


@pytest.mark.parametrize("flood", sorted(FLOODS.keys() - {"bytes of a body"}))
async def test_a_flood_of_nothing_ends_its_connection(flood: str) -> None:
    async with memory_edge() as edge:
        connector = await connected(edge, hello)
        async with asyncio.timeout(30):
            await (await Flooder(edge, flood).connect()).run()  # ends because the edge ends it
        async with await h2_visitor(edge.visitor_address) as visitor:
            assert (await visitor.ask()).status == 200
        await connector.close()


# -- one turn at a time, without a network ---------------------------------------------------------------------------


class Turned:
    """An edge whose visitors have sockets made for the test, and the work that each call of the reader did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = VisitorServer(VisitorSettings(), Tunnels(), "test")
        self.work: list[int] = []
        original = Incoming.work

        def counted(incoming: Incoming, units: int) -> int:
            used = original(incoming, units)
            self.work.append(used)
            return used

        monkeypatch.setattr(Incoming, "work", counted)

    def visitor(self) -> tuple[Http2Visitor, FakeSocket]:
        visitor, sock = Http2Visitor(self.server), FakeSocket()
        visitor.connection_made(sock)
        visitor.data_received(PREFACE + SettingsFrame(0, {}).serialize())
        self.work.clear()
        return visitor, sock


async def test_many_frames_of_one_read_wait_for_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Turned(monkeypatch)
    visitor, sock = turned.visitor()
    visitor.data_received(WindowUpdateFrame(0, window_increment=1).serialize() * 1000)
    assert turned.work == [], "a large read is not worked on at once"
    assert len(turned.server.turns) == 1
    paused = [sock.paused]
    while len(turned.server.turns):
        paused.append(sock.paused)
        await asyncio.sleep(0)
    assert all(paused)
    assert not sock.paused
    assert sum(turned.work) == 1000
    assert max(turned.work) <= SLICE == 32
    visitor.abort()


async def test_a_small_read_is_worked_on_at_once_but_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Turned(monkeypatch)
    visitor, _ = turned.visitor()
    turned.server.turns.add(lambda: None)  # whoever else waits
    visitor.data_received(PingFrame(0, b"12345678").serialize() * 100)
    assert turned.work == [AT_ONCE]
    visitor.abort()


async def test_a_visitor_who_is_gone_when_told_goodbye_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    visitor, sock = Turned(monkeypatch).visitor()

    def gone() -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(sock, "write_eof", gone)
    visitor.close(ErrorCodes.NO_ERROR)
    assert sock.closed


async def test_whoever_floods_on_after_the_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    visitor, sock = Turned(monkeypatch).visitor()
    visitor.close(ErrorCodes.ENHANCE_YOUR_CALM)
    for _ in range(MAX_DISCARDED // 65_536):
        visitor.data_received(bytes(65_536))
    assert not sock.closed, "it may still read why"
    visitor.data_received(b"x")
    assert sock.closed


# -- frames are cut out --------------------------------------------------------------------------------------------


def test_frames_are_cut_out_of_whatever_pieces() -> None:
    wire = PREFACE + get(1) + DataFrame(3, b"x" * 100).serialize() + PingFrame(0, b"12345678").serialize()
    for size in (1, 2, 9, 30, len(wire)):
        cutter = FrameCutter()
        found: list[tuple[int, int, int]] = []
        for at in range(0, len(wire), size):
            cutter.feed(wire[at : at + size])
            while frame := cutter.next():
                assert len(found) < 3
                found.append((frame.kind, frame.stream_id, frame.size))
            assert not cutter.has_next
        assert found == [(1, 1, len(_GET)), (0, 3, 100), (6, 0, 8)]
        assert len(cutter) == 0


def test_a_frame_that_is_too_long_is_not_gathered() -> None:
    cutter = FrameCutter()
    cutter.feed(PREFACE + (16_385).to_bytes(3, "big") + bytes(6))
    assert cutter.has_next
    with pytest.raises(FrameTooLarge):
        cutter.next()
