"""A client and a server of the aioquic engine over loopback, with certificates that both ends know."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyconnector.transport.quic.aioquic_engine.connection import AioquicConnection
from pyconnector.transport.quic.aioquic_engine.engine import connect, listen
from pyconnector.transport.settings import EDGE_SERVER_NAME, ClientTls, QuicSettings, ServerTls
from pyconnector.transport.tls.certificates import make_authority
from tests.transport.conformance import PATIENCE, Pair

if TYPE_CHECKING:
    from pyconnector.transport.quic.aioquic_engine.listener import AioquicListener
    from pyconnector.transport.seam import Address, Connection


@dataclass(frozen=True)
class Credentials:
    """What a server shows and the file that its clients trust."""

    server: ServerTls
    ca_file: str = field(repr=False)


@functools.cache
def credentials() -> Credentials:
    """Return credentials for the name of the edge. The file is removed with the test process's temporary ones."""
    authority = make_authority("pyconnector tests")
    chain, key = authority.issue([EDGE_SERVER_NAME])
    directory = tempfile.mkdtemp(prefix="pyconnector-tests-")
    path = os.path.join(directory, "ca.pem")
    with open(path, "wb") as file:
        file.write(authority.certificate_pem)
    return Credentials(ServerTls(certificate_chain=chain, private_key=key), path)


def client_tls(*, post_quantum_only: bool = False) -> ClientTls:
    """Return what makes a client trust the server of `credentials`."""
    return ClientTls(ca_file=credentials().ca_file, post_quantum_only=post_quantum_only)


@dataclass
class Server:
    """A listener and the connections that it handed over."""

    listener: AioquicListener
    arrived: asyncio.Queue[Connection]

    async def next(self) -> AioquicConnection:
        """Return the next connection."""
        connection = await asyncio.wait_for(self.arrived.get(), PATIENCE)
        assert isinstance(connection, AioquicConnection)
        return connection


@asynccontextmanager
async def serve(settings: QuicSettings | None = None) -> AsyncIterator[Server]:
    """Run a listener on loopback."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()
    listener = await listen(
        "127.0.0.1",
        0,
        tls=credentials().server,
        settings=settings or QuicSettings(),
        on_connection=arrived.put_nowait,
    )
    try:
        yield Server(listener, arrived)
    finally:
        await listener.close()


async def dial(
    address: Address, settings: QuicSettings | None = None, tls: ClientTls | None = None
) -> AioquicConnection:
    """Connect a client."""
    connection = await connect(
        address, tls=tls or client_tls(), settings=settings or QuicSettings(), local_host=None, local_port=0
    )
    assert isinstance(connection, AioquicConnection)
    return connection


@asynccontextmanager
async def aioquic_pair(
    settings: QuicSettings | None = None, server_settings: QuicSettings | None = None
) -> AsyncIterator[tuple[AioquicConnection, AioquicConnection]]:
    """Yield a connected client and server."""
    async with serve(server_settings or settings) as server:
        client = await dial(server.listener.address, settings)
        try:
            yield client, await server.next()
        finally:
            client.close()


@asynccontextmanager
async def make_aioquic_pair(
    *, stream_window: int = 512 * 1024, connection_window: int = 768 * 1024, streams: int = 4096
) -> AsyncIterator[Pair]:
    """As `MakePair` of the conformance checks wants it."""
    settings = QuicSettings(
        initial_stream_window=stream_window,
        stream_window=stream_window,
        initial_connection_window=connection_window,
        connection_window=connection_window,
        incoming_streams=streams,
    )
    async with aioquic_pair(settings) as pair:
        yield pair
