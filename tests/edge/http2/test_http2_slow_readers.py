"""HTTP/2 visitors who take next to nothing of their answers: slow ones stay, others go, and none holds too many."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from h2.errors import ErrorCodes

from pyconnector.edge import VisitorSettings
from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.edge.visitors.http2 import Http2Visitor
from pyconnector.edge.visitors.http2 import connection as connection_module
from pyconnector.edge.visitors.http2.outgoing import PROGRESS, Outgoing
from pyconnector.edge.visitors.server import VisitorServer
from pyconnector.edge.visitors.sockets import LEAST_RATE
from pyconnector.web.http2.frames import PREFACE
from tests.edge.http2.support import hello, scenario
from tests.edge.support import until
from tests.support.peers.fake_transport import FakeTransport

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from tests.support.peers.h2_visitor import H2Visitor
    from tests.support.peers.scripted_connector import Exchange

LIMIT = 100.0


class Windows:
    """The library, as far as sending goes: each stream has a window that the test opens."""

    max_outbound_frame_size = 16_384
    outbound_flow_control_window = 1

    def __init__(self) -> None:
        self.room: dict[int, int] = {}
        self.streams: dict[int, Any] = {}
        self._data = 0

    def local_flow_control_window(self, stream_id: int) -> int:
        return self.room.setdefault(stream_id, 0)

    def send_data(self, stream_id: int, data: bytes) -> None:
        self.room[stream_id] -= len(data)
        self._data += len(data)

    def data_to_send(self) -> bytes:
        size, self._data = self._data, 0
        return bytes(size)


class House:
    """What gets out to one visitor, in virtual time."""

    def __init__(self) -> None:
        self.windows = Windows()
        self.socket = FakeTransport(asyncio.Protocol(), greedy=True)
        self.out = Outgoing(cast("Any", self.windows), self.socket, lambda: None, limit=LIMIT)
        self.tasks: list[asyncio.Task[None]] = []

    def answer(self, stream_id: int, size: int = 10_000_000) -> None:
        self.tasks.append(asyncio.create_task(self.out.send_data(stream_id, bytes(size))))

    async def take(self, stream_id: int, count: int, seconds: float) -> None:
        """Take so much every second, for so many seconds."""
        for _ in range(int(seconds)):
            self.windows.room[stream_id] = self.windows.room.get(stream_id, 0) + count
            self.out.windows_moved()
            await asyncio.sleep(1.0)
            self.out.look(asyncio.get_running_loop().time())

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("rate", "stays"), [(LEAST_RATE + 1, True), (LEAST_RATE / 2, False), (0, False)])
async def test_an_answer_is_taken_at_a_least_rate(rate: float, stays: bool) -> None:
    house = House()
    house.answer(1)
    await house.take(1, int(rate), 2 * LIMIT)
    assert (house.out.stalled(house.now) == []) is stays
    house.end()


@pytest.mark.usefixtures("virtual_time")
async def test_many_answers_share_the_least_rate() -> None:
    house = House()
    for stream_id in range(1, 21):
        house.answer(stream_id)
    await asyncio.sleep(0)
    rate = int(LEAST_RATE / 20) + 2
    await asyncio.gather(*(house.take(stream_id, rate, 2 * LIMIT) for stream_id in range(1, 21)))
    assert house.out.stalled(house.now) == []
    await asyncio.sleep(LIMIT + 1)
    assert len(house.out.stalled(house.now)) == 20
    house.end()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("rate", "stays"), [(LEAST_RATE + 1, True), (LEAST_RATE / 2, False), (0, False)])
async def test_a_socket_is_read_at_a_least_rate(rate: float, stays: bool) -> None:
    house = House()
    house.windows.room[1] = 2**30
    house.answer(1, 1_000_000)
    await asyncio.sleep(0)
    house.socket.unsent = 900_000
    house.out.paused = True
    for _ in range(int(2 * LIMIT)):
        await asyncio.sleep(1.0)
        house.socket.unsent -= int(rate)
        house.out.look(house.now)
    assert house.out.is_stuck(house.now) is not stays
    house.end()


async def test_a_visitor_whose_socket_takes_nothing_is_cut_off() -> None:
    settings = VisitorSettings(write_timeout=LIMIT, idle_timeout=10 * LIMIT)
    server = VisitorServer(settings, Tunnels(), "test")
    visitor = Http2Visitor(server)
    sock = FakeTransport(visitor, greedy=True)
    visitor.connection_made(sock)
    visitor.data_received(PREFACE)
    sock.unsent = 900_000
    now = asyncio.get_running_loop().time()
    visitor.check_time(now + LIMIT - 1)
    assert not sock.aborted
    visitor.check_time(now + LIMIT + 1)
    assert sock.aborted


@pytest.mark.usefixtures("virtual_time")
async def test_answers_are_unread_where_nothing_moves() -> None:
    house = House()
    house.answer(3)
    await asyncio.sleep(2.0)
    house.answer(1)
    await asyncio.sleep(9.0)
    assert house.out.unread(house.now, 10.0) == [3]
    await asyncio.sleep(5.0)
    assert house.out.unread(house.now, 10.0) == [3, 1]
    house.out.paused = True
    house.out._written = house.socket.unsent = 100_000
    house.out.look(house.now)
    house.socket.unsent -= PROGRESS
    house.out.look(house.now)
    assert house.out.unread(house.now, 10.0) == [], "the socket moves: they wait for each other"
    await asyncio.sleep(11.0)
    house.out.look(house.now)
    assert house.out.unread(house.now, 10.0) == [3, 1]
    house.end()


async def test_a_visitor_keeps_so_many_answers_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_UNREAD", 2)
    monkeypatch.setattr(connection_module, "UNREAD_TIMEOUT", 0.2)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        unread = [visitor.open() for _ in range(5)]
        await until(lambda: sum(visitor.streams[one].reset is not None for one in unread) == 3, "the surplus is reset")
        assert {visitor.streams[one].reset for one in unread} == {None, ErrorCodes.ENHANCE_YOUR_CALM}
        (theirs,) = edge._visitors._connections
        assert isinstance(theirs, Http2Visitor)
        assert (await visitor.answer(visitor.open(path=b"/small"))).reset == ErrorCodes.REFUSED_STREAM
        for one in unread:
            if visitor.streams[one].reset is None:
                visitor.h2.reset_stream(one)
        visitor.flush()
        await until(lambda: not theirs.has_too_many_unread, "it may ask again")
        visitor.give_credit()
        assert (await visitor.ask(path=b"/small")).status == 200

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/small"):
            await hello(exchange)
            return
        await exchange.answer(200)
        await exchange.stream.send(bytes(66_000))
        await exchange.receive()

    await scenario(script, play, hold=True)
