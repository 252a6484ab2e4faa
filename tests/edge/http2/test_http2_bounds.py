"""What HTTP/2 visitors may not do without end, and what time ends."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pyconnector.edge.visitors.http2 import Http2Visitor, connection, incoming
from pyconnector.edge.visitors.http2.connection import MAX_UNSENT
from pyconnector.edge.visitors.http2.engine import (
    CONNECTION_WINDOW,
    MAX_BLOCK,
    MAX_CONCURRENT_STREAMS,
    MAX_DECODED,
    MAX_HEADER_LIST,
    STREAM_WINDOW,
)
from pyconnector.edge.visitors.http2.incoming import MAX_EXPECTED_UPDATES, MAX_IDLE_FRAMES, MAX_RESETS
from pyconnector.transport.memory import MemoryLimits
from pyconnector.web.http2.budget import Budget
from tests.edge.http2.support import failing, hello, scenario, streaming_echo
from tests.edge.support import until

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from tests.support.peers.h2_visitor import H2Visitor
    from tests.support.peers.scripted_connector import Exchange


async def never(exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def cut_off_with(visitor: H2Visitor, code: ErrorCodes) -> None:
    await visitor.until(lambda: visitor.lost)
    assert visitor.goaway == code


# -- budgets -------------------------------------------------------------------------------------------------------


def test_a_budget_allows_a_burst_and_then_a_rate() -> None:
    budget = Budget(3, 2.0)
    assert [budget.spend(100.0) for _ in range(4)] == [True, True, True, False]
    assert [budget.spend(100.5), budget.spend(100.5)] == [True, False]
    assert [budget.spend(900.0) for _ in range(4)] == [True, True, True, False]


# -- what is announced ---------------------------------------------------------------------------------------------


async def test_the_bounds_are_announced() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        await visitor.until(lambda: bool(visitor.settings_seen))
        assert visitor.settings_seen[SettingCodes.MAX_CONCURRENT_STREAMS] == MAX_CONCURRENT_STREAMS == 256
        assert visitor.settings_seen[SettingCodes.MAX_HEADER_LIST_SIZE] == MAX_HEADER_LIST == 64 * 1024
        assert visitor.settings_seen[SettingCodes.INITIAL_WINDOW_SIZE] == STREAM_WINDOW
        await visitor.until(lambda: visitor.h2.outbound_flow_control_window == CONNECTION_WINDOW)

    await scenario(hello, play)


# -- what costs the visitor less than the edge ---------------------------------------------------------------------


def keep_no_limit(visitor: H2Visitor) -> None:
    """As a visitor does that has not heard of ours yet."""
    visitor.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 10_000
    visitor.h2.remote_settings.acknowledge()


@pytest.mark.parametrize("informed", [False, True])
async def test_streams_beyond_the_limit_are_refused_and_the_others_served(informed: bool) -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await proceed.wait()
        await hello(exchange)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        if informed:
            await visitor.until(lambda: bool(visitor.settings_seen))
        keep_no_limit(visitor)
        opened = [visitor.open() for _ in range(400)]
        surplus = opened[MAX_CONCURRENT_STREAMS:]
        await visitor.until(lambda: all(visitor.streams[number].reset is not None for number in surplus))
        assert {visitor.streams[number].reset for number in surplus} == {ErrorCodes.REFUSED_STREAM}
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: member.in_flight == MAX_CONCURRENT_STREAMS, "all others at the connector")
        proceed.set()
        for number in opened[:MAX_CONCURRENT_STREAMS]:
            assert (await visitor.answer(number)).status == 200
        again = [visitor.open() for _ in range(50)]
        for number in again:
            assert (await visitor.answer(number)).status == 200
        assert visitor.goaway is None

    await scenario(script, play)


async def test_refused_streams_without_end_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_RESETS", 50)
    monkeypatch.setattr(incoming, "RESETS_A_SECOND", 0.0)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        keep_no_limit(visitor)
        for _ in range(MAX_CONCURRENT_STREAMS + 100):
            visitor.open()
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(never, play)


async def test_a_header_beyond_the_limit_is_told_so_and_spares_the_others() -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await proceed.wait()
        await hello(exchange)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        neighbour = visitor.open((b"x", b"y" * (MAX_HEADER_LIST - 1000)))
        answer = await visitor.ask((b"x", b"y" * MAX_HEADER_LIST))
        assert answer.status == 431
        proceed.set()
        assert (await visitor.answer(neighbour)).status == 200

    await scenario(script, play)


async def test_a_header_that_is_not_even_decoded_ends_the_connection() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.open((b"x", b"y" * MAX_DECODED))
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(hello, play)


async def test_a_small_block_that_stands_for_a_large_header_ends_the_connection() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.open((b"x", b"y" * 3000))
        block = visitor.h2.encoder.encode([(b":method", b"GET"), *[(b"x", b"y" * 3000)] * 80])
        assert len(block) < 1000
        visitor.transport.write(HeadersFrame(3, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(never, play)


async def test_a_block_of_many_full_frames_ends_the_connection() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        # Huffman codes need more bytes than what they stand for where that is unusual.
        visitor.transport.write(HeadersFrame(1, bytes(16_384)).serialize())
        for _ in range(MAX_BLOCK // 16_384):
            visitor.transport.write(ContinuationFrame(1, bytes(16_384)).serialize())
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(never, play)


async def test_a_block_that_only_resizes_the_table_ends_the_connection() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.transport.write(HeadersFrame(1, b"\x20" * 16_000, flags=["END_HEADERS"]).serialize())
        await visitor.until(lambda: visitor.lost)
        assert visitor.goaway not in (None, ErrorCodes.NO_ERROR)

    await scenario(never, play)


async def test_requests_that_are_taken_back_without_end_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_RESETS", 50)
    assert MAX_RESETS == 1000

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        member = edge.tunnels.all()[0].members[0]
        opened = 0
        while visitor.goaway is None and opened < 1000:
            for _ in range(20):
                visitor.h2.reset_stream(visitor.open(), ErrorCodes.CANCEL)
            opened += 20
            visitor.flush()
            await asyncio.sleep(0)
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)
        await until(lambda: member.in_flight == 0, "no exchange is left")

    await scenario(never, play)


async def test_taking_back_what_was_answered_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_RESETS", 1)
    monkeypatch.setattr(incoming, "RESETS_A_SECOND", 0.0)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(10):
            stream_id = visitor.open(method=b"POST", end=False)
            log = visitor.streams[stream_id]
            await visitor.until(lambda log=log: bool(log.fields))  # type: ignore[misc]
            visitor.reset(stream_id)
        assert (await visitor.ask()).status == 200

    await scenario(streaming_echo, play)


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, {}),
        PriorityFrame(1, stream_weight=3),
        DataFrame(1, b""),
        DataFrame(1, b"", pad_length=3, flags=["PADDED"]),
        WindowUpdateFrame(0, window_increment=1),
        WindowUpdateFrame(1, window_increment=1),
        RstStreamFrame(3, 8),
        DataFrame(3, b"x"),
        GoAwayFrame(0),
        ExtensionFrame(0x42, 0, 0, b""),
        SettingsFrame(0, dict.fromkeys(range(16384, 16384 + 500), 0)),
    ],
    ids=lambda frame: type(frame).__name__ + ("Padded" if "PADDED" in frame.flags else ""),
)
async def test_frames_without_content_without_end_end_the_connection(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 100)
    monkeypatch.setattr(incoming, "IDLE_FRAMES_A_SECOND", 10.0)
    assert MAX_IDLE_FRAMES == 1000

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.open(method=b"POST", end=False)
        visitor.reset(visitor.open())
        large = frame.serialize() if len(frame.serialize()) > 1000 else frame.serialize() * 50
        visitor.transport.write(large if len(large) < 1000 else b"")
        await asyncio.sleep(0.02)
        assert not visitor.lost
        visitor.transport.write(frame.serialize() * 500)
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(never, play)


async def test_windows_that_are_opened_byte_by_byte_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update brings a byte, which calls for no updates in its turn, or they would pay for themselves."""
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 100)
    monkeypatch.setattr(incoming, "IDLE_FRAMES_A_SECOND", 0.0)

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [(b"Content-Length", b"10000")], bytes(10_000))
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        for taken in range(1, 150):
            visitor.transport.write(WindowUpdateFrame(stream_id, window_increment=1).serialize())
            # h2 would count the byte against a window that it does not know of.
            visitor.h2.streams[stream_id]._inbound_window_manager.window_opened(1)
            await visitor.until(lambda taken=taken: len(log.body) == taken or visitor.lost)  # type: ignore[misc]
            if visitor.lost:
                break
        await cut_off_with(visitor, ErrorCodes.ENHANCE_YOUR_CALM)

    await scenario(script, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}, hold=True)


async def test_the_updates_that_answers_call_for_are_counted_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_EXPECTED_UPDATES", 10)
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 50)
    monkeypatch.setattr(incoming, "IDLE_FRAMES_A_SECOND", 0.0)
    assert MAX_EXPECTED_UPDATES == 65_536

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 200
        (one,) = (each for each in edge._visitors._connections if isinstance(each, Http2Visitor))
        for _ in range(1000):
            one._incoming.expect_updates()
        updates = 0
        while not one.closing:
            one._incoming.feed(WindowUpdateFrame(0, window_increment=1).serialize())
            one._incoming.work(1)
            updates += 1
        assert 10 < updates <= 10 + 51

    await scenario(hello, play, hold=True)


async def test_answers_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_IDLE_FRAMES", 10_000_000)
    monkeypatch.setattr(connection, "MAX_UNSENT", 64 * 1024)
    pings = PingFrame(0, b"12345678").serialize() * 40_000
    assert MAX_UNSENT == 1024 * 1024

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        await visitor.until(lambda: bool(visitor.settings_seen))
        visitor.transport.pause_reading()
        (theirs,) = edge._visitors._connections
        assert isinstance(theirs, Http2Visitor)
        # Or the system would take megabytes of what nobody reads.
        theirs._socket.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        visitor.transport.write(pings)
        await until(lambda: len(edge._visitors) == 0, "the end of the connection")

    await scenario(never, play, receive_buffer=4096)


@pytest.mark.parametrize("claim", [2**24 - 1, 16_385])
async def test_a_frame_that_claims_to_be_larger_than_allowed_is_not_gathered(claim: int) -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.transport.write(claim.to_bytes(3, "big") + b"\0\0\0\0\0\1")
        await cut_off_with(visitor, ErrorCodes.FRAME_SIZE_ERROR)

    await scenario(never, play)


async def test_a_header_that_never_ends_ends_the_connection() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.transport.write(HeadersFrame(1, b"\x82").serialize())
        for _ in range(1000):
            if visitor.lost:
                break
            visitor.transport.write(ContinuationFrame(1, b"\x82").serialize() * 10)
            await asyncio.sleep(0.001)
        await visitor.until(lambda: visitor.lost)
        assert visitor.goaway not in (None, ErrorCodes.NO_ERROR)

    await scenario(never, play)


async def test_what_comes_on_a_stream_that_was_given_up_is_no_fault() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        answer = await visitor.answer(stream_id)
        assert answer.status == 502
        # The visitor has not seen yet that the rest is unwanted.
        for _ in range(48):
            visitor.transport.write(DataFrame(stream_id, bytes(16_384)).serialize())
        for _ in range(20):
            assert (await visitor.ask()).status == 502
        assert not visitor.lost

    await scenario(failing, play)


async def test_credit_of_bodies_that_wait_for_a_stream_comes_back() -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/first"):
            await proceed.wait()
        await exchange.answer(200, [], b"%d" % len(await exchange.body()))
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        first = visitor.open(path=b"/first")
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: member.in_flight == 1, "the only stream")
        for _ in range(2 * CONNECTION_WINDOW // STREAM_WINDOW):
            stream_id = visitor.open(method=b"POST", end=False)
            await visitor.send(stream_id, bytes(STREAM_WINDOW))
            visitor.reset(stream_id)
        last = visitor.open(method=b"POST", end=False)
        await visitor.send(last, bytes(STREAM_WINDOW))
        proceed.set()
        assert (await visitor.answer(first)).status == 200
        await visitor.send(last, b"more", end=True)
        assert bytes((await visitor.answer(last)).body) == b"%d" % (STREAM_WINDOW + 4)

    await scenario(script, play, limits=MemoryLimits(streams=1))


async def test_credit_of_bodies_that_nobody_wants_comes_back() -> None:
    rounds = 2 * CONNECTION_WINDOW // STREAM_WINDOW

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/end"):
            await hello(exchange)
            return
        over = asyncio.Event()
        exchange.stream.set_abort_callback(over.set)
        await over.wait()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(rounds):
            stream_id = visitor.open(method=b"POST", end=False)
            shut = 0
            while shut < 10:  # until the tunnel takes no more, and the window stays shut
                shut += 1
                while (window := min(visitor.h2.local_flow_control_window(stream_id), 16_384)) > 0:
                    visitor.h2.send_data(stream_id, bytes(window))
                    shut = 0
                visitor.flush()
                await asyncio.sleep(0.001)
            visitor.reset(stream_id)
        assert (await visitor.ask(path=b"/end")).status == 200

    await scenario(script, play)


# -- time ----------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_politely() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 200
        await cut_off_with(visitor, ErrorCodes.NO_ERROR)

    await scenario(hello, play, idle_timeout=0.1)


async def test_a_connection_at_work_is_not_idle() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(1.2)
        await hello(exchange)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 200

    await scenario(script, play, idle_timeout=0.1)


async def test_a_visitor_who_says_goodbye_still_gets_what_is_under_way() -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [], b"one ")
        await proceed.wait()
        await exchange.stream.send(b"two")
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bytes(log.body) == b"one ")
        visitor.transport.write(GoAwayFrame(0).serialize())
        await asyncio.sleep(0.01)
        proceed.set()
        await visitor.answer(stream_id)
        assert (bytes(log.body), log.ended) == (b"one two", True)
        await cut_off_with(visitor, ErrorCodes.NO_ERROR)

    await scenario(script, play)


async def test_a_service_that_does_not_answer_is_waited_for_so_long() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 524
        stream_id = visitor.open(method=b"POST", end=False)
        answer = await visitor.answer(stream_id)
        assert (answer.status, answer.ended) == (408, True)
        grpc = await visitor.ask((b"content-type", b"application/grpc"))
        assert grpc.field(b"grpc-status") == b"14"
        assert not visitor.lost

    await scenario(never, play, response_timeout=0.1)


async def test_an_upload_that_goes_on_is_waited_for() -> None:
    async def script(exchange: Exchange) -> None:
        body = await exchange.body()
        await exchange.answer(200, [], body)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        for _ in range(8):
            await visitor.send(stream_id, b"x")
            await asyncio.sleep(0.1)
        visitor.h2.end_stream(stream_id)
        visitor.flush()
        answer = await visitor.answer(stream_id)
        assert (answer.status, bytes(answer.body)) == (200, b"x" * 8)

    await scenario(script, play, response_timeout=0.5)


async def test_an_edge_that_stops_cuts_its_visitors_off() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.open()
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: member.in_flight == 1, "an exchange")
        await edge.stop()
        await visitor.until(lambda: visitor.lost)

    await scenario(never, play)


async def test_a_stray_reset_of_a_stream_that_is_over_is_no_fault() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 200
        visitor.transport.write(RstStreamFrame(1, 8).serialize())
        assert (await visitor.ask()).status == 200

    await scenario(hello, play)


async def test_frames_of_other_kinds_are_passed_over_whatever_is_in_them() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for kind in (0xA, 0xB, 0x10, 0xFE):
            for stream_id in (0, 1):
                for size in (0, 1, 5):
                    head = bytes([0, 0, size, kind, 0xFF]) + stream_id.to_bytes(4)
                    visitor.transport.write(head + bytes(size))
        assert (await visitor.ask()).status == 200
        assert not visitor.lost

    await scenario(hello, play)
