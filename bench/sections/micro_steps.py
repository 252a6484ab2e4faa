"""The steps that `bench.micro` measures. Each is made once, with all that it needs, and then run many times."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeAlias, cast

from bench.loads.load import http_request
from pyconnector.connector.active.routes import Route
from pyconnector.connector.link.quic.data_streams import DataStreams
from pyconnector.connector.link.quic.exchange import QuicExchange
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.connector.observe.observer import Observer, combined
from pyconnector.connector.observe.rule_metrics import RuleMetrics
from pyconnector.connector.requests.flow_limiter import FlowLimiter
from pyconnector.connector.requests.path import RequestPath
from pyconnector.connector.requests.pump import pump
from pyconnector.ingress import parse_ingress
from pyconnector.origins.base import Headers, Origin, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.http1.parser import ResponseParser
from pyconnector.origins.http1.request_head import encode_head
from pyconnector.protocol.http.headers import request_head, response_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import OpeningDecoder, encode_connect_request, encode_connect_response
from pyconnector.transport.seam import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.origins.base import ByteReader

#: Runs a step so many times.
Step: TypeAlias = "Callable[[int], None]"

_REQUEST = http_request("/bytes/1024")
_OPENING = encode_connect_request(_REQUEST)
_HEADERS: Headers = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Length", b"1024"),
    (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    (b"Server", b"origin/1"),
    (b"Cache-Control", b"max-age=60"),
    (b"Etag", b'"33a64df551425fcc55e4d42a148795d9f25f89d4"'),
]
_BODY = bytes(1024)
_WIRE = b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in _HEADERS) + b"\r\n" + _BODY
_RULES = 20


def decode_opening() -> Step:
    """The opening of a stream, with a browser's request, from bytes."""

    def run(times: int) -> None:
        for _ in range(times):
            OpeningDecoder().feed(_OPENING)

    return run


def encode_response() -> Step:
    """The answer of an origin, to bytes."""
    response = ConnectResponse(metadata=response_metadata(200, _HEADERS))

    def run(times: int) -> None:
        for _ in range(times):
            encode_connect_response(response)

    return run


def map_request() -> Step:
    """Metadata to a request's head, and that to the bytes for an HTTP/1.1 origin."""

    def run(times: int) -> None:
        for _ in range(times):
            head = request_head(_REQUEST)
            request = OriginRequest(
                kind=RequestKind.HTTP,
                method=head.method,
                target=head.target,
                host=head.host,
                headers=head.headers,
                body_length=head.body_length,
            )
            encode_head(request, body_length=0)

    return run


def parse_response() -> Step:
    """The bytes of an HTTP/1.1 response of 1 KiB, to head and body."""
    parser = ResponseParser()

    def run(times: int) -> None:
        for _ in range(times):
            parser.begin()
            parser.feed(_WIRE)

    return run


def map_response() -> Step:
    """A response's header fields to metadata."""

    def run(times: int) -> None:
        for _ in range(times):
            response_metadata(200, _HEADERS)

    return run


def match_rule() -> Step:
    """The last of twenty rules, half of which have a path."""
    rules: list[dict[str, str]] = []
    for number in range(_RULES - 1):
        rule = {"hostname": f"h{number}.example.com", "service": "http://localhost:1"}
        rules.append(rule | {"path": f"^/api/v{number}/"} if number % 2 else rule)
    match = parse_ingress({"ingress": [*rules, {"service": "http://localhost:1"}]}).match

    def run(times: int) -> None:
        for _ in range(times):
            match("www.example.com", "/api/v3/items")

    return run


def pump_turn() -> Step:
    """A response that is there whole: head, body and end to a stream."""
    stream = cast("Stream", _Stream())
    opening = ConnectRequest(dest="http://bench.test/", type=ConnectionType.HTTP)

    def run(times: int) -> None:
        for _ in range(times):
            exchange = QuicExchange(stream, opening, b"")
            exchange.respond(200, _HEADERS)
            _finish(pump(exchange, _Response()))

    return run


def request_path(observer: Observer | None = None) -> Step:
    """A whole request through the connector, from opening to answer, with a stream and an origin that are there."""
    ingress = parse_ingress(
        {"ingress": [{"hostname": "bench.test", "service": "http://localhost:1"}, {"service": "http_status:404"}]}
    )
    routes = SimpleNamespace(
        ingress=ingress, routes=tuple(Route(rule, _Origin()) for rule in ingress.rules), private=None
    )
    made: list[tuple[asyncio.AbstractEventLoop, DataStreams]] = []

    def streams_of_this_loop() -> DataStreams:
        loop = asyncio.get_running_loop()
        if not made or made[-1][0] is not loop:
            path = RequestPath(
                orchestrator=cast("Orchestrator", SimpleNamespace(routes=routes, limiter=FlowLimiter())),
                counters=Counters(),
                added_headers=[(b"Cf-Warp-Tag-Id", b"00000000-0000-0000-0000-000000000000")],
                log=Log("request"),
                observer=observer,
            )
            made[:] = [(loop, DataStreams(path, serve_rpc=_no_rpc, log=Log("request")))]
        return made[-1][1]

    def run(times: int) -> None:
        streams = streams_of_this_loop()
        for _ in range(times):
            streams.accept(_Stream(_OPENING))

    return _within_a_loop(run)


def observed_request() -> Step:
    """The same, with what its rule serves being counted, as wherever there is a metrics server."""
    return request_path(combined((RuleMetrics(),)))


STEPS: dict[str, Callable[[], Step]] = {
    "decode opening": decode_opening,
    "map request": map_request,
    "match rule": match_rule,
    "parse response": parse_response,
    "map response": map_response,
    "encode response": encode_response,
    "pump turn": pump_turn,
    "request path": request_path,
    "observed request": observed_request,
}


def _within_a_loop(step: Step) -> Step:
    async def turns(times: int) -> None:
        for start in range(0, times, 100):
            step(min(100, times - start))
            await asyncio.sleep(0)

    return lambda times: asyncio.run(turns(times))


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for something")


async def _no_rpc(stream: Stream, first: bytes) -> None:
    raise NotImplementedError


class _Stream(Stream):
    """An edge's stream that holds what was sent whole, and takes every answer."""

    def __init__(self, data: bytes = b"") -> None:
        self.stream_id = 1
        self._data = data

    async def receive(self, limit: int = 65_536) -> bytes:
        return self.receive_nowait(limit)

    def receive_nowait(self, limit: int = 65_536) -> bytes:
        data, self._data = self._data, b""
        return data

    async def send(self, data: bytes) -> None:
        pass

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        return False

    async def drain(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def reset(self, code: int = 0) -> None:
        raise RuntimeError("the request failed")

    def stop(self, code: int = 0) -> None:
        pass

    def set_abort_callback(self, callback: Callable[[], None] | None) -> None:
        pass


class _Response(OriginResponse):
    """A response that is there whole."""

    status = 200
    headers = _HEADERS

    def __init__(self) -> None:
        self.trailers = []
        self._body = _BODY

    async def receive(self, limit: int = 65_536) -> bytes:
        return self.receive_nowait(limit)

    def receive_nowait(self, limit: int = 65_536) -> bytes:
        data, self._body = self._body, b""
        return data

    async def finish(self) -> None:
        pass

    def abort(self) -> None:
        raise RuntimeError("the request failed")


class _Origin(Origin):
    """Answers at once."""

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        return _Response()
