"""Floods of the smallest HTTP/2 frames from a service: other requests are served, memory and turns are bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from h2 import events
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError
from pyconnector.origins.http2 import Http2Origin, connection, incoming
from pyconnector.origins.http2.connection import SLICE, Http2Connection
from pyconnector.origins.http2.incoming import Incoming
from pyconnector.origins.net.dial import Dialer, Endpoint
from pyconnector.web.http2.frames import PREFACE, RawFrame
from tests.origins.http2.test_http2 import request, whole
from tests.support.loop.turns import TurnMeter
from tests.support.peers.fake_transport import FakeTransport
from tests.support.peers.h2_origin import H2Server, h2_server
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.http2.exchange import Exchange

#: Services that flood at once.
SERVICES = 8
#: Bytes of one read of the socket, on either loop, and of a frame that is not whole.
READ = 256 * 1024 + 16_384 + 9

_OK = b"\x88"  # :status 200
_EARLY = Encoder().encode([(":status", "103")], huffman=False)


def settings(count: int) -> bytes:
    """By hand: the library writes the lower byte of a number alone."""
    entries = b"".join((0x4000 + number).to_bytes(2) + bytes(4) for number in range(count))
    return len(entries).to_bytes(3) + b"\4" + bytes(5) + entries


def answer(stream_id: int, *flags: str, block: bytes = _OK) -> bytes:
    return HeadersFrame(stream_id, block, flags=["END_HEADERS", *flags]).serialize()


#: What opens the flood, and what it repeats. The request is stream 1.
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "window updates": (b"", WindowUpdateFrame(0, window_increment=1).serialize()),
    "window updates of a stream": (b"", WindowUpdateFrame(1, window_increment=1).serialize()),
    "resets of a stream that is over": (answer(1, "END_STREAM"), RstStreamFrame(1, 8).serialize()),
    "windows of a stream that is over": (
        answer(1, "END_STREAM"),
        WindowUpdateFrame(1, window_increment=1).serialize(),
    ),
    "pings": (b"", PingFrame(0, b"12345678").serialize()),
    "settings": (b"", SettingsFrame(0, {4: 65_535}).serialize()),
    "many settings": (b"", settings(incoming.MAX_SETTINGS)),
    "priorities": (b"", PriorityFrame(1, stream_weight=3).serialize()),
    "goodbyes": (b"", GoAwayFrame(0, last_stream_id=2**31 - 1).serialize()),
    "unknown frames": (b"", ExtensionFrame(0x42, 0, 0, b"").serialize()),
    "empty data": (answer(1), DataFrame(1, b"").serialize()),
    "padded data": (answer(1), DataFrame(1, b"", pad_length=1, flags=["PADDED"]).serialize()),
    "continuations": (HeadersFrame(1, _OK).serialize(), ContinuationFrame(1, b"").serialize()),
    "interim responses": (b"", answer(1, block=_EARLY)),
    "bytes of a body": (answer(1), DataFrame(1, b"x").serialize()),
}
#: Those that end with the stream, or are no flood for as long as somebody reads.
OF_A_STREAM = {"interim responses", "bytes of a body"}


@contextlib.asynccontextmanager
async def flooding(name: str) -> AsyncIterator[tuple[Http2Origin, asyncio.Event]]:
    """An origin whose service floods once it has a request, and what is set when it cannot go on."""
    over = asyncio.Event()
    opening, unit = FLOODS[name]
    writers = []

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        drain: asyncio.Task[bytes] | None = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(len(PREFACE))
            kind = -1
            while kind != 1:
                head = await reader.readexactly(9)
                kind = head[3]
                await reader.readexactly(int.from_bytes(head[:3], "big"))
            drain = asyncio.create_task(reader.read(-1))
            writer.write(SettingsFrame(0, {}).serialize() + opening)
            while not drain.done():
                writer.write(unit * (64_000 // len(unit) + 1))
                await writer.drain()
        over.set()
        if drain is not None:
            drain.cancel()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    endpoint = Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    origin = Http2Origin(endpoint, OriginSettings(), make_dialer=Dialer, fallback=None, tls=False)
    await origin.start()
    try:
        yield origin, over
    finally:
        await origin.close()
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


def hello(server: H2Server, event: events.Event) -> None:
    if isinstance(event, events.StreamEnded):
        server.answer(event.stream_id, b"hello")


async def read(origin: Http2Origin, over: asyncio.Event) -> None:
    """One request, whose response is read as it comes, until the service gives up."""
    with contextlib.suppress(OriginError):
        response = await origin.serve(request(), Body())
        try:
            await whole(response)
        finally:
            await response.finish()
    await over.wait()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("name", FLOODS)
async def test_others_are_served_during_a_flood(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # A budget that never ends, so that the turns alone protect the others.
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10**9)
    monkeypatch.setattr(connection, "MAX_INFORMATIONAL", 10**9)
    meter = TurnMeter()
    monkeypatch.setattr(Incoming, "work", meter.counting(Incoming.work, lambda used: used))

    async with contextlib.AsyncExitStack() as stack:
        port, _ = await stack.enter_async_context(h2_server(hello))
        floods = [await stack.enter_async_context(flooding(name)) for _ in range(SERVICES)]
        requests = [asyncio.create_task(read(origin, over)) for origin, over in floods]
        probe = Http2Origin(
            Endpoint(host="127.0.0.1", port=port), OriginSettings(), make_dialer=Dialer, fallback=None, tls=False
        )
        await probe.start()
        most = 0
        with meter:
            while meter.total < 1_500 and not all(task.done() for task in requests):
                assert await whole(await probe.serve(request(), Body())) == b"hello"
                most = max([most, *(len(made._incoming) for origin, _ in floods for made in origin._connections)])
        assert await whole(await probe.serve(request(), Body())) == b"hello"
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        await probe.close()
        assert most <= READ, "more than one read of the socket waits"
        unit = FLOODS[name][1]
        dearest = RawFrame(unit[3], unit[4], 0, unit).cost
        assert meter.most <= (SERVICES + 1) * (SLICE + dearest + 8), "more than its share in one turn"


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("name", sorted(FLOODS.keys() - OF_A_STREAM))
async def test_a_flood_of_nothing_ends_its_connection(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 1_000)

    async with flooding(name) as (origin, over):
        said = ""
        try:
            await whole(await origin.serve(request(), Body()))
        except OriginError as error:
            said = str(error)
        await over.wait()
        # A stream may be over before the flood; and the library has a bound of its own for the parts of a block.
        assert "too many frames" in said or "is over" in name or name == "continuations"


# -- one connection at a time, without a network ---------------------------------------------------------------------


def connected() -> tuple[Http2Connection, FakeTransport]:
    made = Http2Connection(lambda changed: None)
    transport = FakeTransport(made)
    made.connection_made(transport)
    made.data_received(SettingsFrame(0, {}).serialize())
    transport.take()
    return made, transport


GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


async def test_frames_beyond_one_turn_wait_and_stop_the_reading() -> None:
    made, transport = connected()
    exchange = made.begin(GET, finish=True)
    made.data_received(answer(1) + DataFrame(1, b"x").serialize() * 1000 + DataFrame(1, b"").serialize()[:5])
    assert (exchange.size <= SLICE, transport.reading) == (True, False)
    for _ in range(1000 // SLICE + 1):
        await asyncio.sleep(0)
    assert (exchange.size, transport.reading) == (1000, True)
    made.data_received(DataFrame(1, b"", flags=["END_STREAM"]).serialize()[5:])
    assert await exchange.receive(2000) == b"x" * 1000


async def test_a_service_that_reads_no_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10**9)

    made, transport = connected()
    exchange = made.begin(GET, finish=True)
    ping = PingFrame(0, b"12345678").serialize()
    most = 100_000
    monkeypatch.setattr(connection, "MAX_UNSENT", most)
    for _ in range(most // len(ping) // SLICE + 2):
        made.data_received(ping * SLICE)
        await asyncio.sleep(0)
    assert transport.aborted
    assert transport.unsent <= most + 2 * SLICE * len(ping)
    with pytest.raises(OriginError, match="does not read the answers"):
        await exchange.head


async def test_settings_without_end_are_refused() -> None:
    made, transport = connected()
    made.data_received(settings(incoming.MAX_SETTINGS))
    assert not transport.closing
    made.data_received(settings(incoming.MAX_SETTINGS + 1))
    assert made.closing


async def test_data_of_streams_given_up_may_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10)

    made, _ = connected()
    made.begin(GET, finish=True).abort()
    late = DataFrame(1, b"late").serialize()
    for _ in range(incoming.LATE_FRAMES):
        made.data_received(late)
    assert made.is_open
    for _ in range(11):
        made.data_received(late)
    assert made.closing


async def test_an_upload_earns_the_updates_that_answer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10)

    made, transport = connected()
    exchange = made.begin(GET, finish=False)
    for _ in range(1000):
        await made.send(exchange, b"x")
        transport.take()
        made.data_received(
            WindowUpdateFrame(0, window_increment=1).serialize()
            + WindowUpdateFrame(1, window_increment=1).serialize()
            + PingFrame(0, b"12345678").serialize()
        )
    assert made.is_open


# -- what is wrong with one response ends it alone -------------------------------------------------------------------


def block(*fields: tuple[str, str]) -> bytes:
    return Encoder().encode(fields, huffman=False)


WRONG: dict[str, bytes] = {
    "capital": answer(3, block=block((":status", "200"), ("X-A", "1"))),
    "connection": answer(3, block=block((":status", "200"), ("connection", "close"))),
    "nul": answer(3, block=block((":status", "200"), ("x-a", "a\0b"))),
    "line end": answer(3, block=block((":status", "200"), ("x-a", "a\r\nb: c"))),
    "no status": answer(3, block=block(("x-a", "1"))),
    "late status": answer(3, block=block(("x-a", "1"), (":status", "200"))),
    "two statuses": answer(3, block=block((":status", "200"), (":status", "200"))),
    "a status of no number": answer(3, block=block((":status", "2x0"))),
    "another pseudo-field": answer(3, block=block((":status", "200"), (":path", "/"))),
    "two lengths": answer(3, block=block((":status", "200"), ("content-length", "1"), ("content-length", "2"))),
    "a length of no number": answer(3, block=block((":status", "200"), ("content-length", "+1"))),
    "data before the head": DataFrame(3, b"x").serialize(),
    "the end of an interim response": answer(3, "END_STREAM", block=_EARLY),
    "trailers without an end": answer(3) + answer(3, block=block(("x-a", "1"))),
    "a status in trailers": answer(3) + answer(3, "END_STREAM"),
    "a window of nothing": b"\0\0\4\x08\0\0\0\0\3" + bytes(4),
    "a window of too much": WindowUpdateFrame(3, window_increment=2**31 - 1).serialize(),
    "a header section too large": b"".join(
        [
            HeadersFrame(3, block((":status", "200"), ("a", "x" * 16_000))).serialize(),
            *(ContinuationFrame(3, block(("b", "x" * 16_000))).serialize() for _ in range(16)),
            ContinuationFrame(3, block(("c", "x")), flags=["END_HEADERS"]).serialize(),
        ]
    ),
}


async def until_the_end(exchange: Exchange) -> None:
    await exchange.head
    while await exchange.receive():
        pass


@pytest.mark.parametrize("what", WRONG)
async def test_a_malformed_response_ends_alone(what: str) -> None:
    made, _ = connected()
    neighbour, wrong, later = (made.begin(GET, finish=True) for _ in range(3))
    for at in range(0, len(WRONG[what]), 16_000):
        made.data_received(WRONG[what][at : at + 16_000])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    for exchange in (neighbour, later):
        made.data_received(
            answer(exchange.stream_id) + DataFrame(exchange.stream_id, b"ok", flags=["END_STREAM"]).serialize()
        )
    with pytest.raises(OriginError):
        await until_the_end(wrong)
    for exchange in (neighbour, later):
        await exchange.head
        assert (exchange.status, await exchange.receive()) == (200, b"ok")
    assert made.is_open


async def test_blanks_around_a_value_are_passed_over() -> None:
    made, _ = connected()
    exchange = made.begin(GET, finish=True)
    made.data_received(answer(1, "END_STREAM", block=block((":status", "200"), ("x-a", " 1 "))))
    await exchange.head
    assert exchange.headers == [(b"x-a", b"1")]


async def test_frames_of_any_pieces_mean_the_same() -> None:
    wire = answer(1) + DataFrame(1, b"abc").serialize() + answer(1, "END_STREAM", block=block(("grpc-status", "0")))

    for size in range(1, len(wire) + 1):
        made, _ = connected()
        exchange = made.begin(GET, finish=True)
        for at in range(0, len(wire), size):
            made.data_received(wire[at : at + size])
        assert await exchange.receive() == b"abc"
        assert await exchange.receive() == b""
        assert exchange.trailers == [(b"grpc-status", b"0")]
