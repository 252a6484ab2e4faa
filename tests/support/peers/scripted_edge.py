"""An edge that does what a test says, over real QUIC: accepts connectors, and opens whatever streams it is told to.

It shares nothing with `edge/` but the protocol and transport rooms, and writes bytes that no honest edge would.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pyconnector.protocol.rpc.registration import (
    ConnectionDetails,
    LocalConfigurationReceived,
    Refusal,
    RegisterRequested,
    Registration,
    RegistrationServer,
    UnregisterRequested,
)
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, encode_connect_request
from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectionClosed, TransportError
from pyconnector.transport.settings import EDGE_SERVER_NAME, QuicSettings, ServerTls
from pyconnector.transport.tls.certificates import make_authority

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Listener, Stream

#: Decides on a registration: None accepts it.
Verdict = Callable[[Registration], "Refusal | None"]


def accept_all(registration: Registration) -> Refusal | None:
    return None


class Answer:
    """What a connector said on one stream, and how the stream ended."""

    def __init__(self, response: ConnectResponse | None, body: bytes, reset: bool) -> None:
        self.response = response
        self.body = body
        self.reset = reset

    @property
    def error(self) -> str:
        return self.response.error if self.response is not None else ""

    @property
    def status(self) -> int:
        """The status of the response; 0 where there is none."""
        return int(dict(self.response.metadata).get(b"HttpStatus", b"0")) if self.response is not None else 0


class ScriptedEdge:
    """Listens, and answers every control stream; `connection` is the newest connection that registered."""

    def __init__(self, verdict: Verdict | None) -> None:
        self._verdict = verdict
        self.connections: list[Connection] = []
        self.registrations: list[Registration] = []
        self.registered = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.listener: Listener
        self.ca_path: Path

    @property
    def connection(self) -> Connection:
        return self.connections[-1]

    def accept(self, connection: Connection) -> None:
        if self._verdict is not None:
            task = asyncio.create_task(self._converse(connection), name="scripted edge")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _converse(self, connection: Connection) -> None:
        server = RegistrationServer()
        with contextlib.suppress(TransportError):
            stream = await connection.accept_stream()
            while data := await stream.receive():
                for event in server.receive_data(data):
                    if isinstance(event, RegisterRequested):
                        self._decide(server, event.registration, connection)
                    elif isinstance(event, UnregisterRequested):
                        server.acknowledge_unregister()
                    elif isinstance(event, LocalConfigurationReceived):
                        server.acknowledge_local_configuration()
                if out := server.bytes_to_send():
                    await stream.send(out)
            stream.finish()

    def _decide(self, server: RegistrationServer, registration: Registration, connection: Connection) -> None:
        self.registrations.append(registration)
        assert self._verdict is not None
        refusal = self._verdict(registration)
        if refusal is not None:
            server.refuse(refusal)
            return
        server.accept(ConnectionDetails(connection_id=uuid4(), location="test", remotely_managed=False))
        self.connections.append(connection)
        self.registered.set()

    async def open(self, data: bytes = b"", *, finish: bool = False) -> Stream:
        """Open a stream that begins with `data`."""
        stream = await self.connection.open_stream()
        if data or finish:
            stream.send_nowait(data, finish=finish)
        return stream

    async def ask(self, opening: bytes | ConnectRequest, *, finish: bool = True) -> Answer:
        """Open a stream with `opening` and return all that comes back."""
        data = opening if isinstance(opening, bytes) else encode_connect_request(opening)
        return await answer_of(await self.open(data, finish=finish))

    async def close(self) -> None:
        await self.listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def answer_of(stream: Stream) -> Answer:
    """Read a stream to its end."""
    decoder = ConnectResponseDecoder()
    response: ConnectResponse | None = None
    body = b""
    try:
        async with asyncio.timeout(30):
            while data := await stream.receive():
                if response is not None:
                    body += data
                elif (response := decoder.feed(data)) is not None:
                    body += decoder.leftover
    except ConnectionClosed:
        raise
    except TransportError:
        return Answer(response, body, True)
    finally:
        stream.stop()
        stream.reset()
    return Answer(response, body, False)


def get_request(path: str = "/", *pairs: tuple[bytes, bytes], host: str = "app.test") -> ConnectRequest:
    """A GET as an honest edge sends it, with more metadata."""
    metadata = ((b"HttpMethod", b"GET"), (b"HttpHost", host.encode()), *pairs)
    return ConnectRequest(dest=f"http://{host}{path}", type=ConnectionType.HTTP, metadata=metadata)


@contextlib.asynccontextmanager
async def scripted_edge(
    verdict: Verdict | None = accept_all, *, names: tuple[str, ...] = (EDGE_SERVER_NAME,)
) -> AsyncIterator[ScriptedEdge]:
    """Listen for the block. Without a `verdict` nothing is ever answered."""
    authority = make_authority("scripted edge")
    chain, key = authority.issue(list(names))
    edge = ScriptedEdge(verdict)
    with tempfile.TemporaryDirectory(prefix="pyconnector-scripted-") as directory:
        edge.ca_path = Path(directory) / "ca.pem"
        edge.ca_path.write_bytes(authority.certificate_pem)
        tls = ServerTls(certificate_chain=chain, private_key=key)
        settings = QuicSettings(engine="aioquic")
        edge.listener = await quic.listen("127.0.0.1", 0, tls=tls, settings=settings, on_connection=edge.accept)
        try:
            yield edge
        finally:
            await edge.close()
