"""The `websockets` library at both ends, with edge, QUIC and an http:// rule between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Request, Response

from tests.support.houses.house import House, open_house
from tests.support.loop.leaks import nothing_left

MIB = 1024 * 1024


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def house_with(
    handler: Callable[[ServerConnection], Awaitable[None]], engine: str, *, scheme: str = "http", **options: Any
) -> AsyncIterator[House]:
    """A house whose one service is a WebSocket server."""
    async with serve(handler, "127.0.0.1", 0, max_size=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with open_house([{"service": f"{scheme}://127.0.0.1:{port}"}], engine=engine) as house:
            yield house


def visit(house: House, path: str = "/", **options: Any) -> connect:
    host, port = house.edge.visitor_address
    return connect(f"ws://ws.test{path}", host=host, port=port, max_size=None, proxy=None, **options)


async def test_text_binary_and_large_messages(engine: str) -> None:
    async with house_with(echo, engine) as house, visit(house) as client:
        messages: list[str | bytes] = [
            "",
            "grüße 🚇",
            b"",
            b"\0\xff",
            os.urandom(126),
            os.urandom(65_536),
            os.urandom(MIB),
            "ü" * MIB,
        ]
        for message in messages:
            await client.send(message)
            assert await client.recv() == message
        # In flight together, larger than any window.
        blobs = [os.urandom(MIB) for _ in range(8)]
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(client, blobs))
            for blob in blobs:
                assert await client.recv() == blob


async def send_all(client: ClientConnection, messages: list[bytes]) -> None:
    for message in messages:
        await client.send(message)


async def test_a_message_in_fragments_stays_one(engine: str) -> None:
    async with house_with(echo, engine) as house, visit(house) as client:
        await client.send(["one ", "two ", "three"])
        assert await client.recv() == "one two three"


async def test_pings_go_both_ways() -> None:
    answered = asyncio.Event()

    async def ping_back(connection: ServerConnection) -> None:
        await (await connection.ping(b"from the origin"))
        answered.set()
        await connection.wait_closed()

    async with house_with(ping_back, "aioquic", ping_interval=None) as house:
        async with visit(house, ping_interval=None) as client:
            delay = await (await client.ping(b"from the visitor"))
            assert delay < 5
            await answered.wait()


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (3000, "of the application"), (4999, "ü")]
)
async def test_close_codes_of_either_side_arrive(code: int, reason: str) -> None:
    seen: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/origin-closes":
            await connection.close(code, reason)
        else:
            await connection.wait_closed()
            await seen.put((connection.close_code, connection.close_reason))

    async with house_with(handler, "aioquic") as house:
        async with visit(house, "/origin-closes") as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
        async with visit(house, "/visitor-closes") as client:
            await client.close(code, reason)
            assert await seen.get() == (code, reason)


async def test_compression_is_between_visitor_and_origin() -> None:
    async with house_with(echo, "aioquic") as house:
        offer = ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_max_window_bits=12)
        async with visit(house, extensions=[offer], compression=None) as client:
            (extension,) = client.protocol.extensions
            assert extension.name == "permessage-deflate"
            assert client.response is not None
            agreed = client.response.headers["Sec-WebSocket-Extensions"]
            assert "server_no_context_takeover" in agreed
            assert "client_max_window_bits=12" in agreed
            text = "the same again and again; " * 10_000
            for _ in range(3):
                await client.send(text)
                assert await client.recv() == text
        async with visit(house, compression=None) as client:
            assert client.protocol.extensions == []
            await client.send("plain")
            assert await client.recv() == "plain"


async def test_path_headers_and_subprotocol_of_the_handshake_pass_through(engine: str) -> None:
    requests: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        requests.append(connection.request)
        await connection.close()

    async with house_with(handler, engine, scheme="ws", subprotocols=["chat.v2", "chat.v1"]) as house:
        options = {"subprotocols": ["chat.v1", "x"], "additional_headers": [("X-A", "1"), ("X-A", "2")]}
        async with visit(house, "/a%2Fb?q=%20", origin="http://ws.test", **options) as client:
            assert client.subprotocol == "chat.v1"
        (request,) = requests
        assert request.path == "/a%2Fb?q=%20"
        assert request.headers.get_all("X-A") == ["1", "2"]
        assert request.headers["Origin"] == "http://ws.test"
        assert request.headers["Host"] == "ws.test"


async def test_a_refused_handshake_is_an_ordinary_response() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(403, "not you\n")
        response.headers["X-Why"] = "because"
        return response

    async with house_with(echo, "aioquic", process_request=refuse) as house:
        with pytest.raises(InvalidStatus) as refused:
            async with visit(house):
                pass
        response = refused.value.response
        assert (response.status_code, response.headers["X-Why"], response.body) == (403, "because", b"not you\n")


async def test_one_who_breaks_off_breaks_off_the_other(engine: str) -> None:
    origin_lost = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/origin-dies":
            connection.transport.abort()
            return
        await connection.send("ready")
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
        origin_lost.set()

    async with house_with(handler, engine) as house:
        async with visit(house, "/origin-dies") as client:
            with pytest.raises(ConnectionClosedError):
                await client.recv()
        async with nothing_left():
            async with visit(house) as client:
                assert await client.recv() == "ready"
                client.transport.abort()
                async with asyncio.timeout(30):
                    await origin_lost.wait()
