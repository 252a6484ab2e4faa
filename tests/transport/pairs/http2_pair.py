"""Pairs of HTTP/2 ends over TLS on the loopback interface: first the client (an edge), then the server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from pyconnector.transport.http2 import (
    CLIENT_SETTINGS,
    SERVER_SETTINGS,
    Http2Connection,
    Http2Settings,
    Http2Socket,
    connect,
    server_context,
)
from pyconnector.transport.settings import ServerTls
from pyconnector.transport.tls.certificates import make_authority


@functools.cache
def edge_tls(directory: Path) -> tuple[ServerTls, str]:
    """A certificate of an edge, and the file of who vouches for it."""
    authority = make_authority("test authority")
    file = directory / "http2-ca.pem"
    file.write_bytes(authority.certificate_pem)
    chain, key = authority.issue(["h2.cftunnel.com"])
    return ServerTls(certificate_chain=chain, private_key=key), str(file)


@asynccontextmanager
async def listening(
    directory: Path, factory: Callable[[], asyncio.BaseProtocol]
) -> AsyncIterator[tuple[tuple[str, int], str]]:
    """An edge's TLS socket that gives each accepted connection to a protocol of `factory`."""
    tls, ca_file = edge_tls(directory)
    server = await asyncio.get_running_loop().create_server(
        factory, "127.0.0.1", 0, ssl=server_context(tls), ssl_shutdown_timeout=1.0
    )
    try:
        yield server.sockets[0].getsockname()[:2], ca_file
    finally:
        server.close()


@asynccontextmanager
async def http2_pair(
    directory: Path, *, client: Http2Settings = CLIENT_SETTINGS, server: Http2Settings = SERVER_SETTINGS
) -> AsyncIterator[tuple[Http2Connection, Http2Connection]]:
    """Both ends, connected."""
    accepted: asyncio.Future[Http2Connection] = asyncio.get_running_loop().create_future()

    def factory() -> Http2Socket:
        return Http2Socket(client=True, settings=client, on_connection=accepted.set_result)

    async with listening(directory, factory) as (address, ca_file):
        connector = await connect(address, ca_file=ca_file, settings=server)
        edge = await accepted
        try:
            yield edge, connector
        finally:
            edge.close()
            connector.close()
            await edge.wait_closed()
            await connector.wait_closed()


@asynccontextmanager
async def conformance_pair(
    directory: Path, *, stream_window: int = 512 * 1024, connection_window: int = 768 * 1024, streams: int = 4096
) -> AsyncIterator[tuple[Http2Connection, Http2Connection]]:
    """A pair whose windows are fixed, as the conformance suite asks for it."""
    windows = Http2Settings(
        initial_stream_window=stream_window, stream_window=stream_window,
        connection_window=max(connection_window, 65_536), max_streams=streams,
    )  # fmt: skip
    async with http2_pair(directory, client=replace(windows, max_streams=0), server=windows) as pair:
        yield pair
