"""What HTTP/1.1 visitors get where a tunnel, a connector, a response or a visitor fails."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.transport.errors import StreamReset
from tests.edge.support import memory_edge, until, visitors
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")


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
