"""A visitor's HTTP/1.1 through the edge to a scripted connector and back."""

from __future__ import annotations

import asyncio
import os

import pytest

from pyconnector.edge.visitors.http1 import connection as http1
from pyconnector.edge.visitors.http1 import state
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.transport.errors import StreamReset
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


async def test_without_a_tunnel_there_is_530_and_the_connection_lives() -> None:
    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        for _ in range(2):
            response = await visitor.request(get("/", "<nobody>".strip("<>")))
            assert response.status == 530
            assert b"No tunnel" in response.body
        head = await visitor.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True)
        assert head.status == 530
        assert (await visitor.request(get())).status == 530


async def test_an_error_of_the_connector_is_502_with_its_reason_unless_hidden() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.fail("dial tcp 10.0.0.1:80: refused <b>")

    for shown in (True, False):
        async with memory_edge(visitors=visitors(error_details=shown)) as edge:
            connector = await connected(edge, script)
            async with RawVisitor(edge.visitor_address) as visitor:
                for _ in range(2):
                    response = await visitor.request(get())
                    assert response.status == 502
                    assert (b"10.0.0.1:80: refused &lt;b&gt;" in response.body) is shown
            await connector.close()


async def _reset(exchange: Exchange) -> None:
    exchange.stream.reset(7)


async def _end(exchange: Exchange) -> None:
    exchange.stream.finish()


async def _garbage(exchange: Exchange) -> None:
    await exchange.stream.send(b"this is no answer at all, is it?")


async def _no_status(exchange: Exchange) -> None:
    from pyconnector.protocol.streams.connect import ConnectResponse
    from pyconnector.protocol.streams.openings import encode_connect_response

    await exchange.stream.send(encode_connect_response(ConnectResponse(metadata=((b"HttpHeader:A", b"b"),))))


async def _switch(exchange: Exchange) -> None:
    await exchange.answer(101)


async def _two_lengths(exchange: Exchange) -> None:
    await exchange.answer(200, [(b"Content-Length", b"1"), (b"Content-Length", b"2")], b"ab")


@pytest.mark.parametrize("script", [_reset, _end, _garbage, _no_status, _switch, _two_lengths])
async def test_a_connector_that_answers_nonsense_is_502_and_nothing_else_breaks(script: object) -> None:
    async with memory_edge() as edge:
        connector = await connected(edge, script)  # type: ignore[arg-type]
        async with RawVisitor(edge.visitor_address) as visitor:
            for _ in range(2):
                assert (await visitor.request(get())).status == 502
        assert edge.connectors.all()[0].in_flight == 0
        await connector.close()


@pytest.mark.parametrize("headers", [[], [(b"Content-Length", b"100")]])
async def test_a_response_that_breaks_off_is_seen_to_be_cut(headers: list[tuple[bytes, bytes]]) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, headers, b"part")
        await asyncio.sleep(0.01)
        exchange.stream.reset()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await visitor.request(get())
        async with RawVisitor(edge.visitor_address) as visitor:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await visitor.request(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        await connector.close()


async def test_a_response_shorter_or_longer_than_it_says() -> None:
    async def script(exchange: Exchange) -> None:
        short = exchange.request.dest.endswith("short")
        await exchange.answer(200, [(b"Content-Length", b"5")], b"abc" if short else b"abcdeHTTP/1.1 200 OK")
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get("/long"))).body == b"abcde"
            assert (await visitor.request(get("/long"))).body == b"abcde"
            with pytest.raises(asyncio.IncompleteReadError):
                await visitor.request(get("/short"))
        await connector.close()


@pytest.mark.parametrize("half", [True, False])
async def test_a_visitor_who_leaves_aborts_its_request_at_once(half: bool) -> None:
    waiting = asyncio.Event()
    told: list[float] = []

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, [], b"first")
        waiting.set()
        aborted = asyncio.Event()
        exchange.stream.set_abort_callback(aborted.set)
        await aborted.wait()
        told.append(asyncio.get_running_loop().time())
        with pytest.raises(StreamReset):
            await exchange.stream.send(b"x")

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await waiting.wait()
            await visitor.head()
            left = asyncio.get_running_loop().time()
            if half:
                visitor.writer.write_eof()
            else:
                visitor.abort()
            await until(lambda: bool(told))
            assert told[0] - left < 0.1
        assert edge.connectors.all()[0].in_flight == 0
        await connector.close()


async def test_a_visitor_who_leaves_in_mid_upload_resets_the_stream() -> None:
    broken = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        with pytest.raises(StreamReset):
            await exchange.body()
        broken.set()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
            await until(lambda: connector.streams == 1)
            await asyncio.sleep(0.01)
            visitor.abort()
            await broken.wait()
        await connector.close()


async def test_a_malformed_chunk_in_mid_upload_is_400_and_resets_the_stream() -> None:
    broken = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        with pytest.raises(StreamReset):
            await exchange.body()
        broken.set()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            await until(lambda: connector.streams == 1)
            await asyncio.sleep(0.01)
            response = await visitor.request(b"zz\r\n")
            assert (response.status, response.field("Connection")) == (400, "close")
            assert await visitor.reader.read() == b""
            await broken.wait()
        await connector.close()


async def test_a_refused_request_is_answered_and_the_connection_closed() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        smuggled = (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x"
        )
        for data, status in [(smuggled, 400), (b"\x16\x03\x01" + b"\0" * 300, 400)]:
            async with RawVisitor(edge.visitor_address) as visitor:
                response = await visitor.request(data)
                assert (response.status, response.field("Connection")) == (status, "close")
                assert await visitor.reader.read() == b""
        async with RawVisitor(edge.visitor_address) as visitor:
            response = await visitor.request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            assert response.status == 204
        assert connector.streams == 0
        await connector.close()


async def test_a_slow_visitor_stops_the_connector_and_a_slow_connector_the_visitor() -> None:
    sent = 0
    taken = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        if exchange.value("HttpMethod") == "GET":
            await exchange.answer(200)
            for _ in range(1000):
                await exchange.stream.send(b"x" * 65_536)
                sent += 65_536
            exchange.stream.finish()
        else:
            await taken.wait()
            size = len(await exchange.body())
            await exchange.answer(200, [(b"Content-Length", b"8")], b"%08d" % size)
            exchange.stream.finish()

    async def settled() -> int:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        return sent

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await visitor.head()
            # Socket buffers of the kernel take some megabytes; the rest of the 64 must wait at the connector.
            assert await settled() < 16_000_000
            total = 0
            while piece := await visitor.chunk():
                total += len(piece)
            assert total == 65_536_000
            data = b"y" * 30_000_000
            visitor.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            before = -1
            while (left := visitor.writer.transport.get_write_buffer_size()) != before:
                before = left
                await asyncio.sleep(0.05)
            assert left > 10_000_000
            taken.set()
            assert int((await visitor.response()).body) == len(data)
        await connector.close()


async def test_requests_and_visitors_that_take_too_long() -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    limits = visitors(head_timeout=0.1, idle_timeout=0.2, response_timeout=0.3)

    async with memory_edge(visitors=limits) as edge:
        connector = await connected(edge, never)
        visited = [RawVisitor(edge.visitor_address) for _ in range(4)]
        for visitor in visited:
            await visitor.__aenter__()
        visited[0].send(b"GET / HTTP/1.1\r\nHo")
        visited[2].send(get())
        visited[3].send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        assert (await visited[0].response()).status == 408
        assert await visited[1].reader.read() == b""
        assert (await visited[2].response()).status == 524
        assert (await visited[3].response()).status == 408
        for visitor in visited:
            await visitor.close()
        assert edge.connectors.all()[0].in_flight == 0
        await connector.close()


async def test_the_number_of_visitors_is_bounded() -> None:
    async with memory_edge(visitors=visitors(max_connections=2)) as edge:
        async with RawVisitor(edge.visitor_address) as first, RawVisitor(edge.visitor_address) as second:
            assert (await first.request(get())).status == 530
            assert (await second.request(get())).status == 530
            async with RawVisitor(edge.visitor_address) as third:
                assert (await third.response()).status == 503
        await until(lambda: not len(edge._visitors))
        async with RawVisitor(edge.visitor_address) as again:
            assert (await again.request(get())).status == 530


async def test_a_refused_visitor_who_does_not_go_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LINGER", 0.05)

    async with memory_edge() as edge, RawVisitor(edge.visitor_address) as visitor:
        assert (await visitor.request(b"nonsense\n")).status == 400
        await until(lambda: not len(edge._visitors))


async def test_bytes_after_the_last_request_do_not_spoil_its_response() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        async with RawVisitor(edge.visitor_address) as visitor:
            last = get("/", "app.test", "Connection: close")
            response = await visitor.request(last + b"x" * 1_000_000)
            assert (response.status, response.field("Connection")) == (200, "close")
            visitor.abort()
        assert connector.streams == 1
        await connector.close()
