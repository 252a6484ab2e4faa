"""A client and a server over loopback, each on the engine that a test names."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.transport.quic import connect, listen
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.quic.qh3_engine.listener import Qh3Listener
from pyconnector.transport.settings import ClientTls, QuicSettings
from tests.transport.conformance import PATIENCE, Pair
from tests.transport.pairs.aioquic_pair import client_tls, credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pyconnector.transport.seam import Connection, Listener

USUAL = QuicSettings(engine="qh3")


def windows(
    engine: str, *, stream_window: int = 512 * 1024, connection_window: int = 768 * 1024, streams: int = 4096
) -> QuicSettings:
    """Return settings whose windows are fixed at these sizes.

    qh3 has one bound for all streams of a connection, so there a stream's window can only be kept by the connection's.
    """
    if engine == "qh3":
        connection_window = min(stream_window, connection_window)
    return QuicSettings(
        engine=engine,
        initial_stream_window=stream_window,
        stream_window=stream_window,
        initial_connection_window=connection_window,
        connection_window=connection_window,
        incoming_streams=streams,
    )


@dataclass
class Server:
    """A listener and the connections that it handed over."""

    listener: Listener
    arrived: asyncio.Queue[Connection]

    async def next(self) -> Connection:
        """Return the next connection."""
        return await asyncio.wait_for(self.arrived.get(), PATIENCE)


@asynccontextmanager
async def serve(settings: QuicSettings) -> AsyncIterator[Server]:
    """Run a listener on loopback."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()
    listener = await listen(
        "127.0.0.1", 0, tls=credentials().server, settings=settings, on_connection=arrived.put_nowait
    )
    try:
        yield Server(listener, arrived)
    finally:
        await listener.close()


@asynccontextmanager
async def quic_pair(client: QuicSettings, server: QuicSettings) -> AsyncIterator[Pair]:
    """Yield a connected client and server."""
    async with serve(server) as running:
        connection = await connect(running.listener.address, tls=client_tls(), settings=client)
        try:
            yield connection, await running.next()
        finally:
            connection.close()


@asynccontextmanager
async def qh3_pair(
    client: QuicSettings | None = None, server: QuicSettings | None = None
) -> AsyncIterator[tuple[Qh3Connection, Qh3Connection]]:
    """Yield a pair of which both ends are qh3's."""
    usual = QuicSettings(engine="qh3")
    async with quic_pair(client or usual, server or usual) as (near, far):
        assert isinstance(near, Qh3Connection)
        assert isinstance(far, Qh3Connection)
        yield near, far


def make_pair_of(client: str, server: str) -> Callable[..., AbstractAsyncContextManager[Pair]]:
    """Return the `MakePair` of the conformance checks for two engines."""

    @asynccontextmanager
    async def make_pair(**sizes: int) -> AsyncIterator[Pair]:
        async with quic_pair(windows(client, **sizes), windows(server, **sizes)) as pair:
            yield pair

    return make_pair


async def dial(address: tuple[str, int], settings: QuicSettings = USUAL, tls: ClientTls | None = None) -> Qh3Connection:
    connection = await connect(address, tls=tls or client_tls(), settings=settings)
    assert isinstance(connection, Qh3Connection)
    return connection


async def accepted(server: Server) -> Qh3Connection:
    connection = await server.next()
    assert isinstance(connection, Qh3Connection)
    return connection


def listener_of(server: Server) -> Qh3Listener:
    assert isinstance(server.listener, Qh3Listener)
    return server.listener
