"""Visitors over HTTP/2 through the edge to a scripted connector and back."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from pyconnector.edge.visitors.http2 import connection
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER, encode_data, encode_trailers
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.h2_visitor import H2Visitor, h2_visitor
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected, echo

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
from tests.edge.http2.support import framed_head, hello, scenario, streaming_echo


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
