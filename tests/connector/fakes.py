"""Origins, edges and attempts made for tests: in memory, and obedient."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pyconnector.connector.active.routes import Route
from pyconnector.connector.active.stream_counts import StreamCounts
from pyconnector.connector.link.quic.data_streams import DataStreams
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.connector.observe.observer import Observer, combined
from pyconnector.connector.requests.flow_limiter import FlowLimiter
from pyconnector.connector.requests.path import RequestPath
from pyconnector.ingress import Rule, parse_ingress
from pyconnector.origins.base import ByteReader, Origin, OriginRequest, OriginResponse
from pyconnector.origins.layers.compose import compose
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, encode_connect_request
from pyconnector.transport.memory import MemoryConnection, memory_pair

if TYPE_CHECKING:
    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.origins.layers.base import Layer
    from pyconnector.transport.seam import Stream

#: What an origin answers with: a function of the request and its body.
Serve = Callable[[OriginRequest, ByteReader], Awaitable[OriginResponse]]


class FakeResponse(OriginResponse):
    """A response whose body is a list of pieces; None among them stands for a wait until `feed` or `end`."""

    def __init__(self, *pieces: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.status = status
        self.headers = list(headers)
        self.trailers = []
        self.pieces: list[bytes] = list(pieces)
        self.open = False
        "Whether more may come after `pieces`."
        self.broken: Exception | None = None
        self.aborted = False
        self.finished = False
        self._wake = asyncio.Event()

    def feed(self, *pieces: bytes) -> None:
        self.pieces += pieces
        self._wake.set()

    def end(self, failure: Exception | None = None) -> None:
        self.open = False
        self.broken = failure
        self._wake.set()

    async def receive(self, limit: int = 65_536) -> bytes:
        while (data := self.receive_nowait(limit)) is None:
            self._wake.clear()
            await self._wake.wait()
        return data

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        if self.pieces:
            return self.pieces.pop(0)
        if self.open:
            return None
        if self.broken is not None:
            raise self.broken
        return b""

    async def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = not self.finished


class FakeOrigin(Origin):
    """An origin that remembers its requests and answers as told."""

    def __init__(self, serve: Serve | None = None) -> None:
        self.requests: list[OriginRequest] = []
        self.cancelled = 0
        self.closed = False
        self._serve = serve

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        self.requests.append(request)
        try:
            return await self._serve(request, body) if self._serve else FakeResponse(b"hello")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        self.closed = True


class PathUnderTest:
    """A RequestPath on one end of an in-memory connection, with a scripted origin, and the edge on the other."""

    #: Of all paths of a test.
    observers: ClassVar[tuple[Observer, ...]] = ()

    def __init__(
        self,
        origin: Origin | None = None,
        *,
        private: Origin | None = None,
        layers: tuple[Layer, ...] = (),
        serve_rpc: Callable[[Stream, bytes], Awaitable[None]] | None = None,
        attach: bool = True,
        service: str = "http://localhost:1",
    ) -> None:
        self.origin = origin or FakeOrigin()
        self.counters = Counters()
        rules = parse_ingress({"ingress": [{"service": service}]})
        rule = rules.rules[0]
        composed = compose(self.origin, rule, (*layers, StreamCounts(self.counters)))
        route = Route(rule, composed.origin, composed.access)
        routes = SimpleNamespace(ingress=rules, routes=(route,), private=private or FakeOrigin(), local_access=None)
        self.orchestrator = SimpleNamespace(routes=routes, limiter=FlowLimiter())
        self.rpc: list[bytes] = []
        self.path = RequestPath(
            orchestrator=cast("Orchestrator", self.orchestrator),
            counters=self.counters,
            added_headers=[(b"Cf-Warp-Tag-Room", b"attic"), (b"Cf-Warp-Tag-Id", b"me")],
            log=Log("request"),
            index=3,
            observer=combined(self.observers),
        )
        self.streams = DataStreams(self.path, serve_rpc=serve_rpc or self._serve_rpc, log=Log("request"))
        self.edge: MemoryConnection
        self.connection: MemoryConnection
        self.connection, self.edge = memory_pair()
        if attach:
            self.connection.set_stream_handler(self.streams.accept)

    async def _serve_rpc(self, stream: Stream, first: bytes) -> None:
        self.rpc.append(first)

    async def open(self, data: bytes, *, finish: bool = True) -> Stream:
        stream = await self.edge.open_stream()
        stream.send_nowait(data, finish=finish)
        return stream

    async def ask(self, data: bytes | None = None, *, finish: bool = True, **request: Any) -> Answer:
        """Send a request and read the whole answer."""
        stream = await self.open(opening(**request) + (data or b""), finish=finish)
        return await read_answer(stream)

    async def settled(self) -> None:
        """Wait until nothing is being served any more."""
        async with asyncio.timeout(30):
            while self.streams.running.active:
                await asyncio.sleep(0)


class Answer:
    """What the edge received on one stream."""

    def __init__(self, response: ConnectResponse, body: bytes) -> None:
        self.error = response.error
        self.metadata = dict(response.metadata)
        self.body = body

    @property
    def status(self) -> int:
        return int(self.metadata.get(b"HttpStatus", b"0"))


async def read_answer(stream: Stream) -> Answer:
    decoder = ConnectResponseDecoder()
    response = None
    async with asyncio.timeout(30):
        while response is None:
            data = await stream.receive()
            assert data, "the stream ended before an answer"
            response = decoder.feed(data)
        body = [decoder.leftover]
        while data := await stream.receive():
            body.append(data)
    return Answer(response, b"".join(body))


def opening(
    kind: ConnectionType = ConnectionType.HTTP,
    *,
    dest: str = "http://app.example/path?q=1",
    method: bytes = b"GET",
    host: bytes = b"app.example",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    metadata = ((b"HttpMethod", method), (b"HttpHost", host), *((b"HttpHeader:" + n, v) for n, v in headers))
    return encode_connect_request(ConnectRequest(dest=dest, type=kind, metadata=metadata))


def rule_of(service: str, **settings: Any) -> Rule:
    return parse_ingress({"ingress": [{"service": service, "originRequest": settings}]}).rules[0]
