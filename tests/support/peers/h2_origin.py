"""A scripted HTTP/2 server for tests: what a handler does with each request is up to the test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from h2 import config, events
from h2.connection import H2Connection


class H2Server(asyncio.Protocol):
    """One connection. `react(server, event)` is called for every event."""

    def __init__(self, react: Callable[[H2Server, events.Event], None], made: list[H2Server]) -> None:
        self.h2 = H2Connection(config.H2Configuration(client_side=False, header_encoding=None))
        self.react = react
        self.seen: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(self)
        self.transport = cast("asyncio.Transport", transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.seen.append(event)
            self.react(self, event)
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def answer(self, stream_id: int, body: bytes = b"", *, status: bytes = b"200", trailers: Any = ()) -> None:
        self.h2.send_headers(stream_id, [(b":status", status), (b"x-one", b"1"), (b"x-one", b"2")])
        self.h2.send_data(stream_id, body, end_stream=not trailers)
        if trailers:
            self.h2.send_headers(stream_id, list(trailers), end_stream=True)


@contextlib.asynccontextmanager
async def h2_server(
    react: Callable[[H2Server, events.Event], None], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[H2Server]]]:
    """Serve on loopback for the block; yields the port and the connections as they come."""
    made: list[H2Server] = []
    server = await asyncio.get_running_loop().create_server(lambda: H2Server(react, made), "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], made
    finally:
        server.close()
        for connection in made:
            connection.transport.abort()
        await server.wait_closed()
