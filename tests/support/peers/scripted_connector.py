"""A connector that does what a test says: registers over a memory pair and hands each stream to a coroutine.

It shares nothing with the real connector but the protocol room, so that the edge is tested against the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid4

from pyconnector.protocol.http.headers import response_metadata
from pyconnector.protocol.rpc.registration import Refused, Registered, Registration, RegistrationClient
from pyconnector.protocol.streams.connect import ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import OpeningDecoder, RpcOpening, encode_connect_response
from pyconnector.transport.errors import TransportError
from pyconnector.transport.memory import MemoryLimits, memory_pair

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from pyconnector.transport.seam import Connection, Stream

TUNNEL_ID = UUID("11111111-2222-3333-4444-555555555555")
ACCOUNT = "account"
SECRET = b"0123456789abcdef0123456789abcdef"


class Exchange:
    """One stream that the edge opened, with what it declared."""

    def __init__(self, request: ConnectRequest | RpcOpening, stream: Stream, leftover: bytes) -> None:
        self.opening = request
        self.stream = stream
        self._leftover = leftover

    @property
    def request(self) -> ConnectRequest:
        assert isinstance(self.opening, ConnectRequest)
        return self.opening

    def headers(self, name: str) -> list[str]:
        key = f"HttpHeader:{name}".lower().encode()
        return [value.decode() for header, value in self.request.metadata if header.lower() == key]

    def value(self, key: str) -> str:
        return dict(self.request.metadata)[key.encode()].decode()

    async def receive(self) -> bytes:
        if self._leftover:
            data, self._leftover = self._leftover, b""
            return data
        return await self.stream.receive()

    async def body(self) -> bytes:
        data = b""
        while piece := await self.receive():
            data += piece
        return data

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b"") -> None:
        response = ConnectResponse(metadata=response_metadata(status, headers or []))
        await self.stream.send(encode_connect_response(response) + body)

    async def fail(self, error: str) -> None:
        await self.stream.send(encode_connect_response(ConnectResponse(error=error)))
        self.stream.finish()


Script: TypeAlias = Callable[[Exchange], Awaitable[None]]


async def echo(exchange: Exchange) -> None:
    """Answer with the body that came."""
    body = await exchange.body()
    await exchange.answer(200, [(b"Content-Length", b"%d" % len(body))], body)
    exchange.stream.finish()


class ScriptedConnector:
    """One connection to an edge."""

    def __init__(self, connection: Connection, script: Script = echo) -> None:
        self.connection = connection
        self.script = script
        self.streams = 0
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.registration = RegistrationClient()
        self.control: Stream | None = None
        self.connection.set_stream_handler(self._opened)

    async def register(
        self,
        *,
        secret: bytes = SECRET,
        account: str = ACCOUNT,
        tunnel_id: UUID = TUNNEL_ID,
        index: int = 0,
        client_id: UUID | None = None,
        replace_existing: bool = False,
    ) -> Registered | Refused:
        registration = Registration(
            account_tag=account,
            tunnel_secret=secret,
            tunnel_id=tunnel_id,
            connection_index=index,
            client_id=client_id or uuid4(),
            features=("serialized_headers",),
            version="test",
            arch="linux_amd64",
            replace_existing=replace_existing,
        )
        self.registration.register(registration)
        event = await self.converse()
        assert isinstance(event, Registered | Refused)
        return event

    async def converse(self) -> Any:
        """Send what the client side of the control stream wants to send, and return the next event."""
        if self.control is None:
            self.control = await self.connection.open_stream()
        while True:
            if out := self.registration.bytes_to_send():
                await self.control.send(out)
            data = await self.control.receive()
            events = self.registration.receive_data(data) if data else self.registration.receive_eof()
            if events:
                return events[0]
            assert data, "the control stream ended without an event"

    async def close(self) -> None:
        self.connection.close(0, "test over")
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for failure in self.failures:
            raise failure

    def _opened(self, stream: Stream) -> None:
        self.streams += 1
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failures.append(failure)

    async def _serve(self, stream: Stream) -> None:
        decoder = OpeningDecoder()
        try:
            while True:
                data = await stream.receive()
                if not data:
                    return
                opening = decoder.feed(data)
                if opening is not None:
                    break
            await self.script(Exchange(opening, stream, decoder.leftover))
        except TransportError:
            pass  # the edge gave up; a script that cares catches it


def attached(edge: LocalEdge, script: Script = echo, *, limits: MemoryLimits | None = None) -> ScriptedConnector:
    """Return a connector that is joined to the edge in memory, and has not registered."""
    connection, edge_side = memory_pair(limits=limits)
    edge.attach(edge_side)
    return ScriptedConnector(connection, script)


async def connected(edge: LocalEdge, script: Script = echo, **options: Any) -> ScriptedConnector:
    """Return a connector that has registered."""
    connector = attached(edge, script, limits=options.pop("limits", None))
    assert isinstance(await connector.register(**options), Registered)
    return connector
