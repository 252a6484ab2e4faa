"""What one HTTP/1.1 visitor may cost in one turn of the loop, and in memory, whatever it sends and does not read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.edge import turns
from pyconnector.edge.turns import JOBS_A_TURN, Turns
from pyconnector.edge.visitors.http1 import request_body, request_parser
from pyconnector.edge.visitors.http1.connection import MAX_WAITING, VisitorConnection
from pyconnector.edge.visitors.http1.request_body import LINES_A_TURN, ChunkedBody
from pyconnector.edge.visitors.http1.request_parser import MAX_EMPTY_LINES, MAX_FIELDS, BadRequest, RequestReader
from pyconnector.edge.visitors.sockets import LEAST_RATE, end_writing
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.fake_transport import HIGH_WATER, FakeTransport
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge

#: What a loop reads from a socket at once.
READ = 256 * 1024
OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"


def visitor_of(edge: LocalEdge, *, peer_is_gone: bool = False, greedy: bool = False) -> FakeTransport:
    connection = VisitorConnection(edge._visitors)
    transport = FakeTransport(connection, peer_is_gone=peer_is_gone, greedy=greedy)
    connection.connection_made(transport)
    return transport


def flood(transport: FakeTransport, unit: bytes) -> int:
    """Deliver as much as is read in one turn, as uvloop may: until reading stops. Return how much it was."""
    data = unit * (READ // len(unit))
    read = 0
    while transport.reading and not transport.closing and read < 64 * READ:
        transport.protocol.data_received(data)
        read += len(data)
    return read


# -- one turn's bytes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [b"\r\n", b"GET / HTTP/1.1\r\nA: b\r\n", b"a", b"\0", get(), OPTIONS])
async def test_reading_stops_at_its_bound_in_every_state(unit: bytes) -> None:
    async with memory_edge() as edge:
        transport = visitor_of(edge)
        assert flood(transport, unit) <= MAX_WAITING + READ
        transport.abort()


@pytest.mark.parametrize("unit", [get(), OPTIONS, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"])
async def test_what_waits_stays_within_its_bound_while_answers_go_out(unit: bytes) -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        transport = visitor_of(edge, greedy=True)
        connection = transport.protocol
        assert isinstance(connection, VisitorConnection)
        for _ in range(2000):
            flood(transport, unit)
            assert len(connection._reader.leftover) <= MAX_WAITING + READ + len(unit)
            await asyncio.sleep(0)
        assert len(transport.writes) > 100
        transport.abort()
        await asyncio.sleep(0.01)
        await connector.close()


@pytest.mark.parametrize("where", ["closing", "refused upload", "tunnel"])
async def test_what_is_only_dropped_is_read_once_a_turn(where: str) -> None:
    async def script(exchange: Exchange) -> None:
        if where == "tunnel":
            await exchange.answer(101)
        exchange.stream.stop()
        await asyncio.sleep(10)

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        transport = visitor_of(edge)
        if where == "closing":
            transport.protocol.data_received(b"nonsense\r\n\r\n")
            await until(lambda: transport.ended)
        else:
            upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n"
            upgrade = get("/", "a", "Connection: Upgrade", "Upgrade: websocket")
            transport.protocol.data_received(upgrade if where == "tunnel" else upload)
            await until(lambda: connector.streams == 1)
            await asyncio.sleep(0.01)
            flood(transport, b"x")  # finds out that it is not wanted
            await until(lambda: transport.reading)
        for _ in range(20):
            assert 0 < flood(transport, b"x") <= READ
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0.01)
        await connector.close()


def test_empty_lines_before_a_request_are_few() -> None:
    reader = RequestReader()
    reader.feed(b"\r\n" * MAX_EMPTY_LINES + get())
    assert reader.next_request() is not None
    reader.feed(b"\r\n" * MAX_EMPTY_LINES)
    assert reader.next_request() is None
    reader.feed(b"\r\n")
    with pytest.raises(BadRequest):
        reader.next_request()


def test_taking_requests_does_not_copy_what_follows() -> None:
    reader = RequestReader()
    reader.feed(OPTIONS * 10_000)
    buffer = reader.leftover
    for left in range(9_999, -1, -1):
        assert reader.next_request() is not None
        assert len(buffer) == left * len(OPTIONS)
    assert reader.leftover is buffer


def test_fields_are_counted_before_they_are_parsed() -> None:
    class Untouched(RequestReader):
        def on_header(self, name: bytes, value: bytes) -> None:
            raise AssertionError("a field was parsed")

    reader = Untouched()
    reader.feed(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * (MAX_FIELDS + 1) + b"\r\n")
    with pytest.raises(BadRequest, match="too many"):
        reader.next_request()


def test_the_smallest_chunks_are_taken_in_slices() -> None:
    body, waiting = ChunkedBody(), bytearray(b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")
    got = slices = 0
    while not body.finished:
        payload = body.take(waiting)
        assert len(payload) <= LINES_A_TURN
        got += len(payload)
        slices += 1
    assert got == 10_000
    assert slices == 20_002 // LINES_A_TURN + 1


# -- turns -----------------------------------------------------------------------------------------------------------


async def test_a_turn_does_a_few_of_the_jobs_that_wait() -> None:
    done: list[int] = []

    waiting = Turns()
    for number in range(3 * JOBS_A_TURN):
        waiting.add(lambda number=number: done.append(number))  # type: ignore[misc]
    for turn in range(4):
        assert len(done) == turn * JOBS_A_TURN
        await asyncio.sleep(0)
    assert done == list(range(3 * JOBS_A_TURN))


async def test_a_job_that_fails_does_not_stop_the_others() -> None:
    done: list[int] = []

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    waiting = Turns()
    waiting.add(lambda: done.append(1 // 0))
    waiting.add(lambda: done.append(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == [1]


@pytest.mark.parametrize("unit", [OPTIONS, get()], ids=["options", "530"])
async def test_requests_sent_ahead_on_many_connections_share_each_turn(unit: bytes) -> None:
    async with memory_edge() as edge:
        flooders = [visitor_of(edge, greedy=True) for _ in range(4 * JOBS_A_TURN)]
        for transport in flooders:
            transport.protocol.data_received(unit * 1000)
        await asyncio.sleep(0)  # the first request of each is answered at once, as anybody's
        await asyncio.sleep(0)
        before = sum(len(transport.writes) for transport in flooders)
        for _ in range(50):
            await asyncio.sleep(0)
            after = sum(len(transport.writes) for transport in flooders)
            assert after - before <= JOBS_A_TURN
            before = after
        assert min(len(transport.writes) for transport in flooders) > 5, "somebody was passed over"
        for transport in flooders:
            transport.abort()


async def test_small_chunks_on_many_connections_share_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    real = ChunkedBody.take

    def counted(self: ChunkedBody, buffer: bytearray) -> bytes:
        nonlocal taken
        taken += 1
        return real(self, buffer)

    monkeypatch.setattr(ChunkedBody, "take", counted)

    async with memory_edge() as edge:
        connector = await connected(edge)
        flooders = [visitor_of(edge) for _ in range(4 * JOBS_A_TURN)]
        for transport in flooders:
            transport.protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await until(lambda: connector.streams == len(flooders))
        for transport in flooders:
            flood(transport, b"1\r\nx\r\n")
            assert not transport.reading
        for _ in range(50):
            taken = 0
            await asyncio.sleep(0)
            assert 0 < taken <= JOBS_A_TURN
        for transport in flooders:
            transport.abort()
        await asyncio.sleep(0.01)
        await connector.close()


# -- answers that nobody reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [OPTIONS, get()], ids=["options", "530"])
async def test_small_answers_wait_for_their_reader_too(unit: bytes) -> None:
    async with memory_edge() as edge:
        transport = visitor_of(edge)
        for _ in range(5000):
            flood(transport, unit)
            await asyncio.sleep(0)
        assert HIGH_WATER < transport.unsent < HIGH_WATER + 4096
        answered = len(transport.writes)
        transport.take()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(transport.writes) > answered, "it does not go on"
        transport.abort()


async def test_a_visitor_who_takes_nothing_of_a_response_is_cut_off() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [(b"Content-Length", b"20000000")])
        for _ in range(200):
            await exchange.stream.send(b"x" * 100_000)

    async with memory_edge(visitors=visitors(write_timeout=0.05)) as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await until(lambda: connector.streams == 1)
            visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: not len(edge._visitors), "the visitor was cut off")
            await until(lambda: not edge.connectors.all()[0].in_flight, "its request was given up")
        await connector.close()


@pytest.mark.parametrize(("taken", "stays"), [(0, False), (10 * LEAST_RATE - 1, False), (10 * LEAST_RATE, True)])
async def test_slow_readers_stay_and_dead_ones_go(taken: float, stays: bool) -> None:
    async with memory_edge(visitors=visitors(write_timeout=10.0)) as edge:
        transport = visitor_of(edge)
        connection = transport.protocol
        assert isinstance(connection, VisitorConnection)
        transport.write(b"x" * (2 * HIGH_WATER))
        now = asyncio.get_running_loop().time()
        for step in range(1, 5):
            transport.unsent -= int(taken)
            connection.check_time(now + 11 * step)
            await asyncio.sleep(0)
        assert transport.aborted is not stays
        transport.abort()


@pytest.mark.parametrize(("taken", "stays"), [(1, False), (30 * LEAST_RATE, True)])
async def test_what_is_left_at_the_end_is_taken_as_fast(taken: float, stays: bool) -> None:
    async with memory_edge() as edge:
        transport = visitor_of(edge)
        connection = transport.protocol
        assert isinstance(connection, VisitorConnection)
        transport.write(b"x" * (2 * HIGH_WATER))
        connection.eof_received()
        now = asyncio.get_running_loop().time()
        for step in range(3):
            transport.unsent -= int(taken)
            connection.check_time(now + 3 + 31 * step)
        assert transport.aborted is not stays
        transport.abort()
        await asyncio.sleep(0)


async def test_a_tunnel_may_rest_without_being_read() -> None:
    async with memory_edge(visitors=visitors(write_timeout=10.0)) as edge:
        transport = visitor_of(edge)
        connection = transport.protocol
        assert isinstance(connection, VisitorConnection)
        connection._two_way = object()  # type: ignore[assignment]
        connection._deadline = None
        transport.write(b"x" * (2 * HIGH_WATER))
        connection.check_time(asyncio.get_running_loop().time() + 1000)
        assert not transport.aborted
        connection._two_way = None
        transport.abort()


async def test_a_visitor_who_ends_but_does_not_read_is_cut_off() -> None:
    async with memory_edge() as edge:
        transport = visitor_of(edge)
        connection = transport.protocol
        assert isinstance(connection, VisitorConnection)
        transport.write(b"x" * (2 * HIGH_WATER))
        connection.eof_received()
        now = asyncio.get_running_loop().time()
        connection.check_time(now + 3)
        connection.check_time(now + 60)
        assert transport.aborted
        await asyncio.sleep(0)


# -- peers that are gone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"no request\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"])
async def test_a_bad_request_whose_sender_left_closes_the_socket(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with memory_edge() as edge:
        transport = visitor_of(edge, peer_is_gone=True)
        transport.protocol.data_received(data)
        await asyncio.sleep(0.01)
        assert transport.aborted
        assert not len(edge._visitors)
    assert not caplog.records


async def test_half_closing_to_a_peer_that_is_gone_closes() -> None:
    transport = FakeTransport(asyncio.Protocol(), peer_is_gone=True)
    end_writing(transport)
    assert transport.aborted
    end_writing(transport)


# -- floods while somebody asks --------------------------------------------------------------------------------------

_FLOODS = {
    "empty lines": b"\r\n",
    "the longest head": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * (MAX_FIELDS - 1) + b"\r\n",
    "options": OPTIONS,
    "unread answers": get("/", "flood.test"),
    "bodies of a byte": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "chunks of a byte": b"1\r\nx\r\n",
}


async def _flood(address: tuple[str, int], kind: str) -> None:
    data = _FLOODS[kind] * (READ // len(_FLOODS[kind]))
    while True:
        async with RawVisitor(address) as visitor:
            try:
                if kind == "chunks of a byte":
                    visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not visitor.reader.at_eof():
                    visitor.send(data)
                    await visitor.writer.drain()
                    if kind != "unread answers":
                        await visitor.reader.read(READ)
            except OSError:
                pass  # cut off, as it should be: come again
            finally:
                visitor.abort()  # a close would wait for all that was sent to be taken


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("connections", [1, 20])
@pytest.mark.parametrize("kind", _FLOODS)
async def test_others_are_answered_during_a_flood(kind: str, connections: int) -> None:
    async def script(exchange: Exchange) -> None:
        while await exchange.receive():
            pass
        await exchange.answer(204)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        floods = [asyncio.create_task(_flood(edge.visitor_address, kind)) for _ in range(connections)]
        await until(lambda: len(edge._visitors) > 0)
        for _ in range(5):
            async with RawVisitor(edge.visitor_address) as probe, asyncio.timeout(30):
                assert (await probe.request(get())).status == 204
        for connection in edge._visitors._connections:
            if isinstance(connection, VisitorConnection):
                assert len(connection._reader.leftover) <= MAX_WAITING + READ + len(_FLOODS[kind])
        for task in floods:
            task.cancel()
        await asyncio.wait(floods)
        await connector.close()


def test_the_bounds_are_what_the_documentation_says() -> None:
    assert (turns.JOBS_A_TURN, request_body.LINES_A_TURN, request_parser.MAX_EMPTY_LINES) == (8, 500, 8)
