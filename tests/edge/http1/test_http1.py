"""A visitor's HTTP/1.1 through the edge to a scripted connector and back."""

from __future__ import annotations

import asyncio
import os

import pytest

from pyconnector.edge.visitors.http1 import connection as http1
from pyconnector.protocol.streams.connect import ConnectionType
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_a_request_goes_and_its_response_comes_back() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.answer(201, [(b"Content-Length", b"5"), (b"X-A", b"1"), (b"X-A", b"2")], b"hello")
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            response = await visitor.request(get("/p%20a?q=1", "App.test:80", "X-One: 1", "X-One: 2"))
        await connector.close()
    assert (response.status, response.body) == (201, b"hello")
    assert [value for name, value in response.fields if name == "X-A"] == ["1", "2"]
    request = seen[0].request
    assert request.type is ConnectionType.HTTP
    assert request.dest == "http://app.test/p%20a?q=1"
    assert (seen[0].value("HttpMethod"), seen[0].value("HttpHost")) == ("GET", "app.test")
    assert seen[0].headers("X-One") == ["1", "2"]
    assert seen[0].headers("Cf-Connecting-Ip") == ["127.0.0.1"]
    assert seen[0].headers("X-Forwarded-For") == ["127.0.0.1"]
    assert seen[0].headers("X-Forwarded-Proto") == ["http"]
    assert len(seen[0].headers("Cf-Ray")[0]) == len("0123456789abcdef-LOCAL")
    assert await seen[0].body() == b""


async def test_identity_can_be_switched_off_but_never_forged() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.answer(204)
        exchange.stream.finish()

    async with memory_edge(visitors=visitors(identity=False)) as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            await visitor.request(get("/", "a", "Cf-Connecting-Ip: 6.6.6.6", "X-Forwarded-For: 1.1.1.1"))
        await connector.close()
    assert seen[0].headers("Cf-Connecting-Ip") == []
    assert seen[0].headers("X-Forwarded-For") == ["1.1.1.1"]
    assert seen[0].headers("Cf-Ray") == []


async def test_many_requests_share_a_connection_one_at_a_time_even_when_sent_ahead() -> None:
    running = 0
    most = 0

    async def script(exchange: Exchange) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        body = exchange.request.dest.encode() + await exchange.body()
        running -= 1
        await exchange.answer(200, [(b"Content-Length", b"%d" % len(body))], body)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            sent = b""
            for number in range(50):
                if number % 3 == 0:
                    sent += get(f"/{number}")
                elif number % 3 == 1:
                    sent += b"POST /%d HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc" % number
                else:
                    chunked = b"POST /%d HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n" % number
                    sent += chunked + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            visitor.send(sent)
            for number in range(50):
                response = await visitor.response()
                assert response.body == f"http://app.test/{number}".encode() + (b"" if number % 3 == 0 else b"abc")
        await connector.close()
    assert most == 1


async def test_what_is_sent_ahead_without_end_is_not_read() -> None:
    release = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await release.wait()
        await exchange.answer(204)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            one = get("/", "app.test", "X: " + "y" * 1000)
            count = 6_000
            visitor.send(one * count)
            await until(lambda: connector.streams == 1)
            for _ in range(50):
                await asyncio.sleep(0.001)
            (connection,) = edge._visitors._connections
            assert isinstance(connection, http1.VisitorConnection)
            assert len(connection._reader.leftover) < http1.MAX_WAITING + 512 * 1024
            assert visitor.writer.transport.get_write_buffer_size() > 1_000_000
            release.set()
            for _ in range(100):
                assert (await visitor.response()).status == 204
        await connector.close()


@pytest.mark.parametrize("chunked", [True, False])
async def test_uploads_stream_through(chunked: bool) -> None:
    data = os.urandom(3_000_000)

    async with memory_edge() as edge:
        connector = await connected(edge)
        async with RawVisitor(edge.visitor_address) as visitor:
            head = b"PUT / HTTP/1.1\r\nHost: app.test\r\n"
            if chunked:
                body = b"".join(
                    b"%x\r\n%b\r\n" % (len(data[i : i + 70_000]), data[i : i + 70_000])
                    for i in range(0, len(data), 70_000)
                )
                visitor.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
            else:
                visitor.send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            response = await visitor.response()
            assert response.body == data
            assert (await visitor.request(get())).status == 200
        await connector.close()


async def test_the_connector_learns_how_a_body_is_framed() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.body()
        await exchange.answer(204)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            await visitor.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            await visitor.request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        await connector.close()
    assert seen[0].headers("Content-Length") == ["2"]
    assert seen[0].headers("Transfer-Encoding") == []
    assert seen[1].headers("Content-Length") == []
    assert seen[1].headers("Transfer-Encoding") == ["chunked"]


async def test_a_response_streams_in_chunks_as_it_comes() -> None:
    steps = [asyncio.Event() for _ in range(3)]

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [(b"Content-Type", b"text/event-stream")])
        for number, step in enumerate(steps):
            await step.wait()
            await exchange.stream.send(b"tick %d" % number)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            head = await visitor.head()
            assert head.field("Transfer-Encoding") == "chunked"
            for number, step in enumerate(steps):
                step.set()
                assert await visitor.chunk() == b"tick %d" % number
            assert await visitor.chunk() == b""
        await connector.close()


async def test_an_old_visitor_gets_a_body_that_ends_with_the_connection() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [], b"to the end")
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            response = await visitor.request(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            assert response.field("Transfer-Encoding") is None
            assert response.body == b"to the end"
        await connector.close()


async def test_head_has_no_body_and_keeps_the_connection() -> None:
    async def script(exchange: Exchange) -> None:
        body = b"" if exchange.value("HttpMethod") == "HEAD" else b"12345"
        await exchange.answer(200, [(b"Content-Length", b"5")], body)
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            response = await visitor.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True)
            assert response.field("Content-Length") == "5"
            assert (await visitor.request(get())).body == b"12345"
        await connector.close()


async def test_expect_is_answered_once_the_tunnel_is_there_and_not_passed_on() -> None:
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.answer(200, [(b"Content-Length", b"0")], await exchange.body() and b"")
        exchange.stream.finish()

    async with memory_edge() as edge:
        async with RawVisitor(edge.visitor_address) as visitor:
            post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            refused = await visitor.request(post)
            assert (refused.status, refused.field("Connection")) == (530, "close")
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(post)
            assert (await visitor.head()).status == 100
            assert (await visitor.request(b"abc")).status == 200
            visitor.send(post + b"abc")  # it did not wait: it needs no permission
            assert (await visitor.response()).status == 200
        await connector.close()
    assert seen[0].headers("Expect") == []


async def test_an_early_response_to_an_unfinished_upload_is_delivered_whole() -> None:
    page = b"too large" * 10_000

    async def script(exchange: Exchange) -> None:
        await exchange.receive()
        await exchange.answer(413, [(b"Content-Length", b"%d" % len(page))], page)
        exchange.stream.finish()
        exchange.stream.stop()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 5_000_000)
            response = await visitor.response()
            assert (response.status, response.body, response.field("Connection")) == (413, page, "close")
        await until(lambda: not edge.connectors.all()[0].in_flight)
        await connector.close()
