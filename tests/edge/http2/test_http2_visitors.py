"""Visitors over HTTP/2 through the edge to a scripted connector and back."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from pyconnector.edge.visitors.http2 import connection
from pyconnector.edge.visitors.http2.engine import STREAM_WINDOW
from pyconnector.protocol.http.headers import response_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER, encode_data, encode_trailers
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.seam import SEND_HIGH_WATER
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.h2_visitor import H2Visitor, h2_visitor
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, Script, connected, echo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.edge import LocalEdge
    from pyconnector.transport.memory import MemoryLimits


async def scenario(
    script: Script,
    play: Callable[[H2Visitor, LocalEdge], Awaitable[None]],
    *,
    settings: dict[int, int] | None = None,
    hold: bool = False,
    receive_buffer: int | None = None,
    limits: MemoryLimits | None = None,
    **visitor_settings: object,
) -> list[Exchange]:
    """Play with one visitor at an edge whose connector follows `script`; returns the exchanges that it saw."""
    seen: list[Exchange] = []

    async def recorded(exchange: Exchange) -> None:
        seen.append(exchange)
        await script(exchange)

    async with memory_edge(visitors=visitors(**visitor_settings)) as edge:
        connector = await connected(edge, recorded, limits=limits)
        connecting = h2_visitor(edge.visitor_address, settings=settings, hold=hold, receive_buffer=receive_buffer)
        async with await connecting as visitor:
            await play(visitor, edge)
        await connector.close()
    return seen


async def hello(exchange: Exchange) -> None:
    await exchange.answer(200, [(b"Content-Length", b"5"), (b"X-A", b"1"), (b"X-A", b"2")], b"hello")
    exchange.stream.finish()


def framed_head(*headers: tuple[bytes, bytes], status: int = 200) -> bytes:
    metadata = (*response_metadata(status, headers), TRAILERS_OFFER)
    return encode_connect_response(ConnectResponse(metadata=metadata))


async def test_a_request_goes_and_its_response_comes_back() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(
            (b"x-one", b"1"),
            (b"x-one", b"2"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"cf-connecting-ip", b"6.6.6.6"),
            (b"x-forwarded-for", b"1.1.1.1"),
            pseudo={"authority": b"App.test:80"},
            path=b"/p%20a?q=1",
        )
        assert (answer.status, bytes(answer.body)) == (200, b"hello")
        assert answer.fields == [(b":status", b"200"), (b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5")]
        assert answer.reset is None

    (exchange,) = await scenario(hello, play)
    assert exchange.request.type is ConnectionType.HTTP
    assert exchange.request.dest == "http://app.test/p%20a?q=1"
    assert (exchange.value("HttpMethod"), exchange.value("HttpHost")) == ("GET", "app.test")
    assert exchange.headers("X-One") == ["1", "2"]
    assert exchange.headers("Cookie") == ["a=1; b=2"]
    assert exchange.headers("Cf-Connecting-Ip") == ["127.0.0.1"]
    assert exchange.headers("X-Forwarded-For") == ["1.1.1.1, 127.0.0.1"]
    assert exchange.headers("X-Forwarded-Proto") == ["http"]
    assert len(exchange.headers("Cf-Ray")[0]) == len("0123456789abcdef-LOCAL")
    assert TRAILERS_OFFER not in exchange.request.metadata
    assert exchange.headers("Te") == []


async def test_the_same_port_serves_both_versions_and_the_preface_may_come_in_pieces() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge, hello)
        async with RawVisitor(edge.visitor_address) as visitor:
            for byte in get():
                visitor.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await visitor.response()).body == b"hello"
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get().replace(b"GET / ", b"PRI * "))).status == 400
        async with RawVisitor(edge.visitor_address) as visitor:
            for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0":
                visitor.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await visitor.reader.readexactly(9))[3:] == b"\4\0\0\0\0\0"
        await connector.close()


async def test_a_visitor_who_leaves_before_it_said_what_it_speaks_leaves_nothing() -> None:
    async with memory_edge() as edge:
        for beginning in (b"", b"PRI", b"P"):
            async with RawVisitor(edge.visitor_address) as visitor:
                visitor.send(beginning)
                await asyncio.sleep(0.005)
        await until(lambda: len(edge._visitors) == 0, "an empty edge")


async def test_too_many_visitors_are_turned_away() -> None:
    async with memory_edge(visitors=visitors(max_connections=1)) as edge:
        connector = await connected(edge, hello)
        async with await h2_visitor(edge.visitor_address) as visitor:
            assert (await visitor.ask()).status == 200
            async with RawVisitor(edge.visitor_address) as other:
                assert b" 503 " in await other.reader.readline()
            assert (await visitor.ask()).status == 200
        await connector.close()


async def test_trailers_come_as_trailers() -> None:
    async def script(exchange: Exchange) -> None:
        trailers = [(b"Grpc-Status", b"0"), (b"X-Bin", b" \xc3\xa4 "), (b"Connection", b"x"), (b"Content-Length", b"9")]
        exchange.stream.send_nowait(framed_head((b"X", b"1")) + encode_data(b"one") + encode_data(b"two")[:6])
        await asyncio.sleep(0.01)
        exchange.stream.send_nowait(encode_data(b"two")[6:] + encode_trailers(trailers), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert answer.fields == [(b":status", b"200"), (b"x", b"1")]
        assert bytes(answer.body) == b"onetwo"
        assert answer.trailers == [(b"grpc-status", b"0"), (b"x-bin", b"\xc3\xa4")]
        assert answer.reset is None

    (exchange,) = await scenario(script, play)
    assert TRAILERS_OFFER in exchange.request.metadata
    assert exchange.headers("Te") == ["trailers"]


async def test_a_body_without_trailers_ends_without_them() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head() + encode_data(b"one") + encode_trailers([]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (bytes(answer.body), answer.trailers, answer.ended) == (b"one", None, True)

    await scenario(script, play)


async def test_bodies_go_past_every_window_in_both_directions() -> None:
    sent = os.urandom(3 * 1024 * 1024)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answers = await asyncio.gather(*(visitor.ask(method=b"POST", body=sent[at:]) for at in range(2)))
        assert [bytes(answer.body) == sent[at:] for at, answer in enumerate(answers)] == [True, True]

    exchanges = await scenario(streaming_echo, play)
    assert {exchange.value("HttpHeader:Transfer-Encoding") for exchange in exchanges} == {"chunked"}


async def streaming_echo(exchange: Exchange) -> None:
    await exchange.answer(200)
    while piece := await exchange.receive():
        await exchange.stream.send(piece)
    exchange.stream.finish()


async def test_a_declared_length_reaches_the_connector() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"content-length", b"5"), method=b"PUT", body=b"12345")
        assert bytes(answer.body) == b"12345"

    (exchange,) = await scenario(echo, play)
    assert exchange.headers("Content-Length") == ["5"]
    assert exchange.headers("Transfer-Encoding") == []


async def test_both_directions_stream_at_once() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        log = visitor.streams[stream_id]
        said = b""
        for word in (b"one", b"two", b"three"):
            await visitor.send(stream_id, word)
            said += word
            await visitor.until(lambda said=said: bytes(log.body) == said)  # type: ignore[misc]
        visitor.h2.end_stream(stream_id)
        visitor.flush()
        assert (await visitor.answer(stream_id)).ended

    await scenario(streaming_echo, play)


async def test_an_upload_is_held_back_by_the_tunnel() -> None:
    proceed = asyncio.Event()
    size = 8 * 1024 * 1024

    async def script(exchange: Exchange) -> None:
        await proceed.wait()
        body = await exchange.body()
        await exchange.answer(200, [], b"%d" % len(body))
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        sending = asyncio.create_task(visitor.send(stream_id, bytes(size), end=True))
        await until(lambda: visitor.h2.local_flow_control_window(stream_id) == 0, "a closed window")
        await asyncio.sleep(0.05)
        stream = visitor.h2.streams[stream_id]
        assert stream.outbound_flow_control_window == 0
        other = await visitor.ask((b"x", b"1"), path=b"/late")
        assert other.status == 200
        proceed.set()
        await sending
        assert bytes((await visitor.answer(stream_id)).body) == b"%d" % size

    async def choose(exchange: Exchange) -> None:
        await (hello if exchange.request.dest.endswith("/late") else script)(exchange)

    await scenario(choose, play)


async def test_what_an_upload_may_hold_is_bounded() -> None:
    taken: list[int] = []

    async def script(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        before = -1
        while before != sum(taken):
            before = sum(taken)
            while (window := min(visitor.h2.local_flow_control_window(stream_id), 16_384)) > 0:
                visitor.h2.send_data(stream_id, bytes(window))
                taken.append(window)
            visitor.flush()
            await asyncio.sleep(0.05)
        # The opening and what the memory transport takes, what the stream's queue takes, what its window lets through.
        assert STREAM_WINDOW <= sum(taken) <= 2 * SEND_HIGH_WATER + 3 * STREAM_WINDOW

    await scenario(script, play)


async def test_a_visitor_who_takes_nothing_holds_back_its_own_stream_alone() -> None:
    sent: list[int] = []
    total = 8 * 1024 * 1024

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/small"):
            await hello(exchange)
            return
        await exchange.answer(200)
        for _ in range(total // 65_536):
            await exchange.stream.send(bytes(65_536))
            sent.append(65_536)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(path=b"/large")
        log = visitor.streams[stream_id]
        await visitor.until(lambda: len(log.body) == 40_000)
        before = -1
        while before != sum(sent):
            before = sum(sent)
            await asyncio.sleep(0.05)
        assert sum(sent) < 4 * 1024 * 1024
        assert len(log.body) == 40_000
        assert bytes((await visitor.ask(path=b"/small")).body) == b"hello"
        visitor.give_credit()
        await visitor.answer(stream_id)
        assert len(log.body) == total

    await scenario(script, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 40_000}, hold=True)


async def test_a_visitor_whose_windows_are_open_but_who_reads_nothing_holds_back_the_connector() -> None:
    sent: list[int] = []
    total = 48 * 1024 * 1024
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200)
        await proceed.wait()
        for _ in range(total // 65_536):
            await exchange.stream.send(bytes(65_536))
            sent.append(65_536)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.h2.increment_flow_control_window(2**30)
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        visitor.transport.pause_reading()
        proceed.set()
        before = -1
        while before != sum(sent):
            before = sum(sent)
            await asyncio.sleep(0.1)
        assert 0 < sum(sent) < total // 2
        visitor.transport.resume_reading()
        await visitor.answer(stream_id)
        assert len(log.body) == total

    await scenario(script, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**30}, receive_buffer=65_536)


async def test_a_window_that_opens_with_the_settings_is_used() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        assert not log.body
        visitor.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        visitor.flush()
        assert bytes((await visitor.answer(stream_id)).body) == b"hello"

    await scenario(hello, play, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})


async def test_a_reset_reaches_the_connector_at_once_and_spares_the_others() -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/small"):
            await hello(exchange)
            return
        await exchange.answer(200, [], b"beginning")
        with pytest.raises(StreamReset):
            await exchange.receive()
        gone.set()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open(method=b"POST", end=False)
        await visitor.until(lambda: bool(visitor.streams[stream_id].body))
        visitor.reset(stream_id)
        async with asyncio.timeout(0.5):
            await gone.wait()
        assert (await visitor.ask(path=b"/small")).status == 200

    await scenario(script, play)


async def test_a_reset_before_the_answer_reaches_the_connector_too() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def waiting(exchange: Exchange) -> None:
        exchange.stream.set_abort_callback(gone.set)
        arrived.set()
        await gone.wait()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open()
        await arrived.wait()
        visitor.reset(stream_id)
        async with asyncio.timeout(0.5):
            await gone.wait()
        assert not visitor.lost

    await scenario(waiting, play)


async def test_a_visitor_who_is_gone_takes_all_its_exchanges_along() -> None:
    gone: list[int] = []

    async def script(exchange: Exchange) -> None:
        over = asyncio.Event()
        exchange.stream.set_abort_callback(over.set)
        await over.wait()
        gone.append(1)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(5):
            visitor.open(method=b"POST", end=False)
        member = edge.tunnels.all()[0].members[0]
        await until(lambda: member.in_flight == 5, "five exchanges")
        await visitor.close()
        await until(lambda: len(gone) == 5, "five aborts")
        assert member.in_flight == 0

    await scenario(script, play)


# -- answers of the edge's own -------------------------------------------------------------------------------------


async def failing(exchange: Exchange) -> None:
    await exchange.fail("dial tcp: 100% refused <ä>")


async def test_faults_are_pages() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask()
        assert (answer.status, answer.field(b"content-type")) == (502, b"text/html; charset=utf-8")
        assert answer.field(b"content-length") == b"%d" % len(answer.body)
        assert answer.field(b"cf-ray")
        assert "100% refused &lt;ä&gt;".encode() in answer.body
        head = await visitor.ask(method=b"HEAD")
        assert (head.status, bytes(head.body), head.ended) == (502, b"", True)

    await scenario(failing, play)


async def test_faults_are_told_to_grpc_in_its_own_way() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for kind in (b"application/grpc", b"application/grpc+proto"):
            answer = await visitor.ask((b"content-type", kind), (b"te", b"trailers"), method=b"POST", body=b"12345")
            assert (answer.status, answer.ended, bytes(answer.body)) == (200, True, b"")
            assert answer.field(b"content-type") == b"application/grpc"
            assert answer.field(b"grpc-status") == b"14"
            assert answer.field(b"grpc-message") == b"dial tcp: 100%25 refused <%C3%A4>"
        refused = await visitor.ask((b"content-type", b"application/grpc"), path=b"no/path")
        assert refused.field(b"grpc-status") == b"13"

    await scenario(failing, play)


async def test_without_a_connector_there_is_530() -> None:
    async with memory_edge() as edge, await h2_visitor(edge.visitor_address) as visitor:
        assert (await visitor.ask()).status == 530
        answer = await visitor.ask((b"content-type", b"application/grpc"), method=b"POST")
        assert answer.field(b"grpc-status") == b"14"
        assert answer.field(b"grpc-message") == b"No tunnel is connected for this host."
        posted = visitor.open(method=b"POST", end=False)
        answer = await visitor.answer(posted)
        await visitor.until(lambda: answer.reset is not None)
        assert (answer.status, answer.ended, answer.reset) == (530, True, ErrorCodes.NO_ERROR)


@pytest.mark.parametrize(
    ("pseudo", "more", "status"),
    [
        ({"path": b"no/slash"}, [], 400),
        ({"path": b"/a#b"}, [], 400),
        ({"path": b"/a b"}, [], 400),
        ({"path": b"/\xc3\xa4"}, [], 400),
        ({"path": b"*"}, [], 400),
        ({"method": b"G(T"}, [], 400),
        ({"method": b"CONNECT"}, [], 0),
        ({"scheme": b"ftp"}, [], 400),
        ({"authority": b"a/b"}, [], 400),
        ({"authority": b"user@a"}, [], 400),
        ({}, [(b"a\x80", b"1")], 0),
        ({}, [(b"a(b", b"1")], 400),
        ({}, [(b"a", b"1\x012")], 400),
        ({}, [(b"expect", b"something")], 417),
        ({}, [(b"x", b"1")] * 501, 431),
        ({}, [(b"host", b"other.test")], 0),
        ({}, [(b"a", b"1\r\nb: 2")], 0),
        ({}, [(b"a", b"1\x002")], 0),
        ({}, [(b"Upper", b"1")], 0),
        ({}, [(b"connection", b"close")], 0),
        ({}, [(b"transfer-encoding", b"chunked")], 0),
        ({}, [(b"te", b"gzip")], 0),
        ({}, [(b":path", b"/twice")], 0),
        ({}, [(b"content-length", b"5")], 400),
        ({}, [(b"content-length", b"0"), (b"content-length", b"0")], 400),
    ],
)
async def test_requests_that_could_be_misread_are_refused(
    pseudo: dict[str, bytes | None], more: list[tuple[bytes, bytes]], status: int
) -> None:
    """Status 0 stands for a reset of the stream, where the request is malformed (RFC 9113 8.1.1)."""

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.h2.config.normalize_outbound_headers = False
        stream_id = visitor.open(*more, pseudo=pseudo)
        answer = await visitor.answer(stream_id)
        if status:
            assert answer.status == status
        else:
            assert (answer.fields, answer.reset) == ([], ErrorCodes.PROTOCOL_ERROR)
        assert (await visitor.ask()).status == 200
        assert not visitor.lost

    exchanges = await scenario(hello, play)
    assert len(exchanges) == 1


async def test_a_host_field_stands_in_for_the_authority() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"host", b"in.field"), pseudo={"authority": None})
        assert (await visitor.answer(stream_id)).status == 200
        assert (await visitor.ask((b"host", b"app.test"))).status == 200

    first, second = await scenario(hello, play)
    assert (first.value("HttpHost"), second.value("HttpHost")) == ("in.field", "app.test")
    assert first.headers("Host") == []


async def test_this_is_no_forward_proxy() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(pseudo={"method": b"CONNECT", "scheme": None, "path": None})
        assert answer.status == 405

    assert await scenario(hello, play) == []


async def test_questions_about_the_server_itself() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(method=b"OPTIONS", path=b"*")
        assert answer.status == 204
        assert answer.field(b"allow")

    assert await scenario(hello, play) == []


async def test_a_visitor_that_asks_first_is_told_to_go_on() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"expect", b"100-continue"), method=b"POST", end=False)
        log = visitor.streams[stream_id]
        await visitor.until(lambda: log.informational == [100])
        await visitor.send(stream_id, b"body", end=True)
        assert bytes((await visitor.answer(stream_id)).body) == b"body"

    (exchange,) = await scenario(echo, play)
    assert exchange.headers("Expect") == []


# -- responses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_responses_without_a_body_end_with_their_header(method: bytes, status: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, [(b"Content-Length", b"7"), (b"Connection", b"X-Hop"), (b"X-Hop", b"1")])
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(method=method)
        assert (answer.status, bytes(answer.body), answer.ended) == (status, b"", True)
        assert answer.field(b"content-length") == (None if status == 204 else b"7")
        assert answer.field(b"x-hop") is None

    await scenario(script, play)


async def test_a_response_that_is_empty_ends_with_its_header() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.headers("Te"):
            exchange.stream.send_nowait(framed_head() + encode_trailers([]), finish=True)
        else:
            await exchange.answer(200)
            exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask((b"te", b"trailers"))).header_ended
        assert (await visitor.ask()).ended

    await scenario(script, play)


async def test_a_grpc_status_in_the_header_is_the_end_although_that_comes_later() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head((b"Grpc-Status", b"12")))
        await asyncio.sleep(0.02)
        exchange.stream.send_nowait(encode_trailers([]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.field(b"grpc-status"), answer.header_ended) == (b"12", True)

    await scenario(script, play)


async def test_a_header_does_not_wait_for_a_late_body() -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head())
        await proceed.wait()
        exchange.stream.send_nowait(encode_data(b"late") + encode_trailers([]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"te", b"trailers"))
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        assert not log.body
        proceed.set()
        assert bytes((await visitor.answer(stream_id)).body) == b"late"

    await scenario(script, play)


async def test_trailers_without_a_body_follow_the_header() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head() + encode_trailers([(b"grpc-status", b"0")]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.header_ended, answer.trailers) == (False, [(b"grpc-status", b"0")])

    await scenario(script, play)


async def test_an_answer_before_the_end_of_the_upload_frees_the_visitor() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(413, [], b"too much")
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(3):
            stream_id = visitor.open(method=b"POST", end=False)
            visitor.h2.send_data(stream_id, bytes(10_000))
            visitor.flush()
            answer = await visitor.answer(stream_id)
            await visitor.until(lambda answer=answer: answer.reset is not None)  # type: ignore[misc]
            assert (answer.status, bytes(answer.body), answer.ended) == (413, b"too much", True)
            assert answer.reset == ErrorCodes.NO_ERROR
        assert not visitor.lost

    await scenario(script, play)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ((), [encode_data(b"one")]),
        ((), [encode_data(b"one"), b"\2\0\0\0\1x"]),
        (((b"Content-Length", b"9"),), [encode_data(b"one"), encode_trailers([])]),
        (((b"Content-Length", b"3"),), [encode_data(b"one"), encode_data(b"more"), encode_trailers([])]),
    ],
)
async def test_a_broken_response_is_a_reset(head: tuple[tuple[bytes, bytes], ...], body: list[bytes]) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head(*head))
        for piece in body:
            await asyncio.sleep(0.01)
            exchange.stream.send_nowait(piece)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.ended, answer.reset) == (False, ErrorCodes.INTERNAL_ERROR)
        assert bytes(answer.body) == b"one"

    await scenario(script, play)


async def test_a_connector_that_breaks_off_is_a_reset_or_a_page() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/late"):
            await exchange.answer(200, [], b"one")
            await asyncio.sleep(0.01)
        if exchange.request.dest.endswith("/short"):
            await exchange.answer(200, [(b"Content-Length", b"5")])
            exchange.stream.finish()
        else:
            exchange.stream.reset()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 502
        assert (await visitor.ask(path=b"/short")).status == 502
        answer = await visitor.ask(path=b"/late")
        assert (bytes(answer.body), answer.reset) == (b"one", ErrorCodes.INTERNAL_ERROR)

    await scenario(script, play)


async def test_a_switch_of_protocols_is_refused() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(101)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 502

    await scenario(script, play)


async def test_a_visitor_is_asked_to_go_behind_its_requests() -> None:
    released = asyncio.Event()

    async def patient(exchange: Exchange) -> None:
        await released.wait()
        await hello(exchange)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream = visitor.open()
        await until(lambda: edge._visitors.busy == 1)
        edge._visitors.drain()
        await asyncio.sleep(0)
        released.set()
        await visitor.until(lambda: visitor.goaway is not None)
        assert (visitor.goaway, visitor.lost) == (ErrorCodes.NO_ERROR, False)
        assert (visitor.streams[stream].status, bytes(visitor.streams[stream].body)) == (200, b"hello")
        assert edge._visitors.busy == 0

    await scenario(patient, play)


async def test_a_visitor_that_is_never_idle_is_asked_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.open()
        await until(lambda: edge._visitors.busy == 1)
        monkeypatch.setattr(connection, "GOODBYE_AFTER", 0.0)
        edge._visitors.drain()
        await visitor.until(lambda: visitor.goaway is not None)
        assert (visitor.goaway, visitor.lost, edge._visitors.busy) == (ErrorCodes.NO_ERROR, False, 1)

    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    await scenario(never, play)
