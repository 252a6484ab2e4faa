"""One bad request of an HTTP/2 connection, or one answer nobody reads, and the others that share the connection."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, HeadersFrame, WindowUpdateFrame

from pyconnector.edge.visitors.http2 import Http2Visitor, incoming
from pyconnector.edge.visitors.http2.fields import check_request, with_one_cookie
from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.web.http2.engine import _begins_with_resizing
from pyconnector.web.http2.fields import Malformed
from tests.edge.http2.support import hello, scenario
from tests.edge.support import until
from tests.support.peers.h2_visitor import StreamLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge import LocalEdge
    from tests.support.peers.h2_visitor import H2Visitor
    from tests.support.peers.scripted_connector import Exchange

pytestmark = pytest.mark.usefixtures("each_loop")

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"app.test"), (b":path", b"/")]


def headers(visitor: H2Visitor, stream_id: int, *fields: tuple[bytes, bytes], end: bool = False) -> Frame:
    flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
    return HeadersFrame(stream_id, visitor.h2.encoder.encode(fields), flags=flags)


def content_length(visitor: H2Visitor, stream_id: int, *pieces: bytes) -> list[Frame]:
    frames: list[Frame] = [headers(visitor, stream_id, *REQUEST, (b"content-length", b"5"))]
    frames += [DataFrame(stream_id, piece) for piece in pieces]
    frames[-1].flags.add("END_STREAM")
    return frames


def trailers(visitor: H2Visitor, stream_id: int, *fields: tuple[bytes, bytes], end: bool = True) -> list[Frame]:
    return [headers(visitor, stream_id, *REQUEST), headers(visitor, stream_id, *fields, end=end)]


def on_itself(visitor: H2Visitor, stream_id: int, *, pad: int = 0) -> list[Frame]:
    frame = headers(visitor, stream_id, *REQUEST, end=True)
    assert isinstance(frame, HeadersFrame)
    frame.flags.add("PRIORITY")
    frame.depends_on, frame.stream_weight = stream_id, 3
    if pad:
        frame.flags.add("PADDED")
        frame.pad_length = pad
    return [frame]


BAD: dict[str, Callable[[H2Visitor, int], list[Frame]]] = {
    "a body beyond its length": lambda visitor, number: content_length(visitor, number, b"123", b"456"),
    "a body short of its length": lambda visitor, number: content_length(visitor, number, b"123"),
    "an end before its length": lambda visitor, number: [
        *content_length(visitor, number, b"12")[:-1],
        headers(visitor, number, (b"a", b"1"), end=True),
    ],
    "a pseudo-field in trailers": lambda visitor, number: trailers(visitor, number, (b":path", b"/")),
    "a capital in trailers": lambda visitor, number: trailers(visitor, number, (b"A", b"1")),
    "trailers that do not end": lambda visitor, number: trailers(visitor, number, (b"a", b"1"), end=False),
    "a stream that depends on itself": on_itself,
    "the same, padded": lambda visitor, number: on_itself(visitor, number, pad=5),
    "a window opened by nothing": lambda visitor, number: [
        headers(visitor, number, *REQUEST),
        WindowUpdateFrame(number, window_increment=1),
    ],
    "no path": lambda visitor, number: [headers(visitor, number, *REQUEST[:3])],
    "no method": lambda visitor, number: [headers(visitor, number, *REQUEST[1:])],
    "an answer's field": lambda visitor, number: [headers(visitor, number, *REQUEST, (b":status", b"100"))],
    "a pseudo-field too late": lambda visitor, number: [
        headers(visitor, number, *REQUEST[:3], (b"a", b"1"), REQUEST[3])
    ],
    "an empty name": lambda visitor, number: [headers(visitor, number, *REQUEST, (b"", b"1"))],
    "blanks around a value": lambda visitor, number: [headers(visitor, number, *REQUEST, (b"a", b" 1"))],
}


@pytest.mark.parametrize("fault", BAD)
async def test_a_malformed_request_ends_alone(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pyconnector.edge")
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if "bad" not in exchange.request.dest:
            await proceed.wait()
        await hello(exchange)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        neighbours = [visitor.open() for _ in range(5)]
        bad = visitor.open(method=b"POST", path=b"/bad", end=False)  # the client counts it as its own
        visitor.reset(bad)
        bad += 2
        visitor.h2.highest_outbound_stream_id = bad
        wire = b"".join(frame.serialize() for frame in BAD[fault](visitor, bad))
        if "opened by nothing" in fault:
            wire = wire[:-1] + b"\0"
        visitor.transport.write(wire)
        await until(lambda: "Refused" in caplog.text, "a line in the log")
        proceed.set()
        for neighbour in neighbours:
            assert (await visitor.answer(neighbour)).status == 200
        assert (await visitor.ask()).status == 200
        assert visitor.goaway is None

    await scenario(script, play)


async def test_a_request_taken_back_in_the_same_segment_ends_alone() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        neighbour = visitor.open()
        visitor.streams[3] = StreamLog()
        visitor.h2.send_headers(3, [*REQUEST, (b"expect", b"100-continue")])
        visitor.h2.reset_stream(3, ErrorCodes.CANCEL)
        visitor.flush()
        assert (await visitor.answer(neighbour)).status == 200
        assert (await visitor.ask()).status == 200
        assert visitor.goaway is None

    await scenario(hello, play)


async def test_malformed_requests_without_end_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_RESETS", 50)
    monkeypatch.setattr(incoming, "RESETS_A_SECOND", 0.0)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.h2.config.normalize_outbound_headers = False
        for _ in range(60):
            visitor.open((b"connection", b"close"))
        await visitor.until(lambda: visitor.lost)
        assert visitor.goaway == ErrorCodes.ENHANCE_YOUR_CALM

    await scenario(hello, play)


def test_a_well_formed_request_passes() -> None:
    check_request([*REQUEST, (b"te", b"trailers"), (b"host", b"app.test"), (b"x", b"")])
    check_request([(b":method", b"CONNECT"), (b":authority", b"app.test")])
    with pytest.raises(Malformed):
        check_request([(b":method", b"CONNECT"), (b":scheme", b"http"), (b":authority", b"app.test")])


def test_cookies_in_several_fields_are_one() -> None:
    fields = [(b"a", b"1"), (b"cookie", b"x=1"), (b"b", b"2"), (b"cookie", b"y=2")]
    assert with_one_cookie(fields) == [(b"a", b"1"), (b"cookie", b"x=1; y=2"), (b"b", b"2")]


def test_a_table_may_be_resized_twice() -> None:
    assert not _begins_with_resizing(b"\x20\x3f\xe1\x1f\x82")
    assert _begins_with_resizing(b"\x20\x3f\xe1\x1f\x20\x82")
    assert not _begins_with_resizing(b"\x3f" + b"\xff" * 10_000)


# -- answers that nobody reads -------------------------------------------------------------------------------------


async def endless(exchange: Exchange) -> None:
    if exchange.request.dest.endswith("/small"):
        await hello(exchange)
        return
    await exchange.answer(200)
    while True:
        await exchange.stream.send(bytes(65_536))


async def test_an_answer_that_nobody_takes_is_given_up_alone() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        unread = visitor.open()
        member = edge.tunnels.all()[0].members[0]
        answer = await visitor.answer(unread)
        assert answer.reset == ErrorCodes.CANCEL
        await until(lambda: member.in_flight == 0, "the exchange is over")
        visitor.give_credit()
        assert (await visitor.ask(path=b"/small")).status == 200
        assert visitor.goaway is None

    await scenario(endless, play, hold=True, write_timeout=0.2)


async def test_answers_of_one_visitor_are_read_for_the_same_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[object] = []
    monkeypatch.setattr(BufferedStream, "read_for", lambda stream, reader: readers.append(reader))

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(2):
            assert (await visitor.ask(path=b"/small")).status == 200

    await scenario(endless, play)
    await scenario(endless, play)
    assert readers[0] is readers[1]
    assert readers[2] is readers[3]
    assert readers[0] is not readers[2]


async def test_an_answer_that_is_taken_slowly_goes_on() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        for _ in range(8):  # far longer than the limit in sum
            before = len(log.body)
            visitor.h2.increment_flow_control_window(4096, stream_id)
            visitor.flush()
            await visitor.until(lambda before=before: len(log.body) >= before + 4096)  # type: ignore[misc]
            await asyncio.sleep(0.3)
        assert log.reset is None

    await scenario(endless, play, hold=True, settings={SettingCodes.INITIAL_WINDOW_SIZE: 4096}, write_timeout=1.0)


async def test_a_visitor_whose_socket_takes_nothing_is_cut_off() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        await visitor.until(lambda: bool(visitor.settings_seen))
        visitor.h2.increment_flow_control_window(2**30)
        visitor.flush()
        (theirs,) = edge._visitors._connections
        assert isinstance(theirs, Http2Visitor)
        theirs._socket.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        visitor.transport.pause_reading()
        visitor.open()
        visitor.open()
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: len(edge._visitors) == 0, "the end of the connection", seconds=10)
        await until(lambda: member.in_flight == 0, "the exchanges are over")

    await scenario(
        endless,
        play,
        settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**30},
        receive_buffer=4096,
        write_timeout=0.2,
    )


async def test_windows_that_are_opened_for_data_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 30)
    monkeypatch.setattr(incoming, "IDLE_FRAMES_A_SECOND", 0.0)

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200)
        for _ in range(300):
            await exchange.stream.send(bytes(1000))
            await asyncio.sleep(0)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        await visitor.until(lambda: bool(visitor.settings_seen))
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        seen = 0
        while not log.ended:
            await visitor.until(lambda seen=seen: len(log.body) > seen or log.ended)  # type: ignore[misc]
            for _ in range(len(log.body) // 16_384 - seen // 16_384 + 1):
                visitor.transport.write(WindowUpdateFrame(0, window_increment=1).serialize())
            seen = len(log.body)
        assert len(log.body) == 300_000
        assert (await visitor.ask()).status == 200

    await scenario(script, play)
