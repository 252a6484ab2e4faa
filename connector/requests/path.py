"""What happens to a stream that the edge opens: opening, rule, origin, answer (wire.md 3, 6 to 9).

The hot path of the product: one task per stream, no timer and no other task where nothing has to be waited for, so
that a small request suspends only for its origin. One `RequestPath` serves the streams of one edge connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from pyconnector.connector.observe.access_log import LOGGER as _access_log
from pyconnector.connector.observe.access_log import CountedReader, CountedResponse, Entry
from pyconnector.connector.observe.log import Log, escape, fields
from pyconnector.connector.requests.guards import guards_of
from pyconnector.connector.requests.pump import pump, pump_framed
from pyconnector.connector.tasks import TaskOwner
from pyconnector.ingress import decode_path
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import OriginError, OriginRequest, RequestKind
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import RATE_LIMITED, STATUS_KEY, request_head, response_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import (
    OpeningDecoder,
    RpcOpening,
    encode_connect_response,
    encode_response_head,
)
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.active.routes import Rejection, Route
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.connector.requests.guards import Guard
    from pyconnector.origins.base import ByteReader, Headers, OriginResponse
    from pyconnector.protocol.streams.connect import Metadata
    from pyconnector.transport.seam import Stream

#: Streams of one connection that are served at once; what comes beyond is answered with an error.
MAX_STREAMS = 12_000
#: Seconds that a stream has to complete its opening.
OPENING_TIMEOUT = 10.0
#: Bytes of incomplete openings that one connection may hold; a stream that would go beyond is refused.
MAX_OPENING_BACKLOG = 8 * 1024 * 1024
#: Seconds of silence after which a drained connection counts as idle: streams may still be on their way.
IDLE_LINGER = 0.05
#: Longest error text that is sent to the edge.
MAX_ERROR_CHARS = 1024

_LIMITED = "failed to start tcp flow due to rate limiting: too many active flows"
_ACK = encode_connect_response(ConnectResponse())
_KINDS = {ConnectionType.HTTP: RequestKind.HTTP, ConnectionType.WEBSOCKET: RequestKind.WEBSOCKET}


class RequestPath:
    """Serves every stream that the edge opens on one connection."""

    def __init__(
        self,
        *,
        orchestrator: Orchestrator,
        counters: Counters,
        added_headers: Headers,
        log: Log,
        serve_rpc: Callable[[Stream, bytes], Awaitable[None]],
        index: int = 0,
    ) -> None:
        self._orchestrator = orchestrator
        self._counters = counters
        self._added_headers = added_headers
        self._log = log
        self._serve_rpc = serve_rpc
        self._index = index
        self._tasks = TaskOwner(self._failed, self._wake_idle)
        self._opening_backlog = 0
        self._idle_waiter: asyncio.Future[None] | None = None
        self._debug = log.isEnabledFor(logging.DEBUG)

    def __repr__(self) -> str:
        return f"<RequestPath active={self.active}>"

    @property
    def active(self) -> int:
        """How many streams are being served."""
        return len(self._tasks)

    def accept(self, stream: Stream) -> None:
        """Serve `stream` from here on. Does not wait and does not raise."""
        if self.active >= MAX_STREAMS:
            self._counters.streams_refused += 1
            entry = Entry(self._index) if _access_log.handlers else None
            _fail(stream, entry, f"the connector already serves {MAX_STREAMS} streams on this connection")
            stream.stop()
            if entry is not None:
                entry.write()
            return
        self._tasks.spawn(self._serve(stream), name="edge stream")

    async def wait_idle(self) -> None:
        """Wait until no stream is served and none came for a moment. Cancel at any time."""
        while True:
            while self.active:
                self._idle_waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._idle_waiter
                finally:
                    self._idle_waiter = None
            await asyncio.sleep(IDLE_LINGER)
            if not self.active:
                return

    async def abort_all(self) -> None:
        """Break off every stream at once. Cancel leaves them breaking off."""
        await self._tasks.cancel_all()

    # -- one stream ------------------------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task(self._tasks.loop))
        stream.set_abort_callback(cast("Callable[[], None]", task.cancel))
        entry: Entry | None = None
        try:
            decoder = OpeningDecoder()
            data = stream.receive_nowait()
            opening = decoder.feed(data) if data else None
            if opening is None:
                opening = await self._wait_for_opening(stream, decoder, data)
            if isinstance(opening, RpcOpening):
                await self._serve_rpc(stream, decoder.leftover)
            else:
                body: ByteReader = _Prefixed(decoder.leftover, stream) if decoder.leftover else stream
                if _access_log.handlers:
                    entry = Entry(self._index, opening)
                    body = CountedReader(body, entry)
                if opening.type is ConnectionType.TCP:
                    await self._serve_tcp(stream, opening, body, entry)
                else:
                    await self._serve_http(stream, opening, body, entry)
            stream.finish()
            stream.stop()
        except BaseException as error:
            _abort(stream)
            if entry is not None:
                entry.broke_off(error)
            if not self._is_expected(error, stream):
                raise
        finally:
            stream.set_abort_callback(None)
            if entry is not None:
                entry.write()

    def _is_expected(self, error: BaseException, stream: Stream) -> bool:
        """Log and count how a stream broke off; False where it is nobody's usual act."""
        if isinstance(error, ProtocolError):
            self._log.warning("Refused a stream: %s", error)
        elif isinstance(error, OriginError):
            # The head is out: the visitor can only be shown that the rest will not come.
            self._counters.request_errors += 1
            self._log.warning("The origin broke off: %s", error, **fields(streamID=stream.stream_id))
        elif isinstance(error, TransportError):
            if self._debug:
                self._log.debug("The visitor left: %s", error, **fields(streamID=stream.stream_id))
        else:
            return False
        return True

    async def _wait_for_opening(
        self, stream: Stream, decoder: OpeningDecoder, first: bytes | None
    ) -> ConnectRequest | RpcOpening:
        """Return what the stream declares itself to be, of which `first` was read already."""
        if first == b"":
            raise ProtocolError("it ended before it began")
        held = len(first or b"")
        self._opening_backlog += held
        try:
            async with asyncio.timeout(OPENING_TIMEOUT):
                while True:
                    data = await stream.receive()
                    if not data:
                        raise ProtocolError("it ended within its opening")
                    held += len(data)
                    self._opening_backlog += len(data)
                    opening = decoder.feed(data)
                    if opening is not None:
                        return opening
                    if self._opening_backlog > MAX_OPENING_BACKLOG:
                        raise ProtocolError("too many openings are incomplete at once")
        except TimeoutError:
            raise ProtocolError(f"its opening was not complete after {OPENING_TIMEOUT:g} s") from None
        finally:
            self._opening_backlog -= held

    # -- HTTP and WebSocket ----------------------------------------------------------------------------------------

    async def _serve_http(self, stream: Stream, opening: ConnectRequest, body: ByteReader, entry: Entry | None) -> None:
        counters = self._counters
        counters.total_requests += 1
        counters.concurrent_requests += 1
        try:
            head = request_head(opening)
            head.headers += self._added_headers
            route, guards = self._route(head.host, head.target)
            request = OriginRequest(
                kind=_KINDS[opening.type],
                method=head.method,
                target=head.target,
                host=head.host,
                headers=head.headers,
                body_length=head.body_length if opening.type is ConnectionType.HTTP else None,
            )
            if entry is not None:
                entry.route, entry.request = route, request
            if route.stages or guards:
                rejection = await _judged(request, route, guards)
                if rejection is not None:
                    self._reject(stream, entry, rejection, request)
                    return
            if self._debug:
                self._log_request(request, route)
            started = asyncio.get_running_loop().time() if route.is_stream else 0.0
            response = await route.origin.serve(request, body)
        except ProtocolError as error:
            self._log.warning("Refused a request: %s", error)
            _fail(stream, entry, str(error), status=400)
        except OriginError as error:
            counters.connect_errors += route.is_stream
            self._origin_failed(error.reason, route, head.host)
            _fail(stream, entry, error.reason, status=error.status)
        else:
            if response.failure:  # the visitor is shown a page in place of it
                self._origin_failed(response.failure, route, head.host)
                if entry is not None:
                    entry.error = response.failure
            if route.is_stream:
                counters.connect_latency_ms.observe((asyncio.get_running_loop().time() - started) * 1000)
            await self._relay(stream, entry, response, takes_trailers=TRAILERS_OFFER in opening.metadata)
        finally:
            counters.concurrent_requests -= 1

    def _origin_failed(self, reason: str, route: Route, host: str) -> None:
        self._counters.request_errors += 1
        self._log.error("%s", reason, **fields(rule=redacted(route.rule.service), host=escape(host)))

    def _route(self, host: str, target: str) -> tuple[Route, Sequence[Guard]]:
        """Return where a request goes, and whose access it must satisfy beside that of its own rule."""
        routes = self._orchestrator.routes
        path = decode_path(target.partition("?")[0])
        match = routes.ingress.match(host, path)
        guards: Sequence[Guard] = guards_of(routes.routes, match) if match.guards else ()
        if routes.local_access is not None:
            guards = (*guards, *routes.local_access.guards(host, path))
        return routes.routes[match.index], guards

    async def _relay(
        self, stream: Stream, entry: Entry | None, response: OriginResponse, *, takes_trailers: bool
    ) -> None:
        framed = takes_trailers and not response.tunnel
        if entry is not None:
            response = CountedResponse(response, entry)
        try:
            try:
                head = encode_response_head(response.status, response.headers, (TRAILERS_OFFER,) if framed else ())
            except ProtocolError as error:
                self._counters.request_errors += 1
                self._log.error("The origin's answer cannot be carried: %s", error)
                _fail(stream, entry, f"the origin's answer cannot be carried: {error}")
                response.abort()
                return
            await (pump_framed if framed else pump)(stream, head, response)
            await response.finish()
        except BaseException:
            response.abort()
            raise
        if response.status != 101:
            self._counters.responses[response.status] += 1

    def _reject(self, stream: Stream, entry: Entry | None, rejection: Rejection, request: OriginRequest) -> None:
        self._counters.request_errors += 1
        if entry is not None:
            entry.reject(rejection)
        self._log.warning("Refused a request: %s", rejection.reason, **fields(host=escape(request.host)))
        metadata = response_metadata(rejection.status, rejection.headers)
        stream.send_nowait(encode_connect_response(ConnectResponse(metadata=metadata)) + rejection.body, finish=True)

    def _log_request(self, request: OriginRequest, route: Route) -> None:
        self._log.debug(
            "%s %s",
            request.method,
            escape(request.target),
            **fields(
                host=escape(request.host), originService=redacted(route.rule.service), bodyLength=request.body_length
            ),
        )

    # -- private network -------------------------------------------------------------------------------------------

    async def _serve_tcp(self, stream: Stream, opening: ConnectRequest, body: ByteReader, entry: Entry | None) -> None:
        counters, limiter = self._counters, self._orchestrator.limiter
        counters.total_requests += 1
        counters.tcp_total += 1
        if not limiter.acquire():
            counters.flows_limited += 1
            _fail(stream, entry, _LIMITED, metadata=(RATE_LIMITED,))
            return
        counters.concurrent_requests += 1
        counters.tcp_active += 1
        started = asyncio.get_running_loop().time()
        request = OriginRequest(
            kind=RequestKind.TCP, method="", target="", host="", headers=[], body_length=None, destination=opening.dest
        )
        try:
            response = await self._orchestrator.routes.private.serve(request, body)
        except OriginError as error:
            counters.request_errors += 1
            counters.connect_errors += 1
            self._log.error("%s", error, **fields(destination=escape(opening.dest)))
            _fail(stream, entry, error.reason, status=error.status)
        else:
            counters.connect_latency_ms.observe((asyncio.get_running_loop().time() - started) * 1000)
            if entry is not None:
                response = CountedResponse(response, entry)
            # Once the stream is acknowledged its bytes are the service's: what fails from here on resets it.
            try:
                await pump(stream, _ACK, response)
                await response.finish()
            except BaseException:
                response.abort()
                raise
        finally:
            limiter.release()
            counters.concurrent_requests -= 1
            counters.tcp_active -= 1

    # -- ends ------------------------------------------------------------------------------------------------------

    def _wake_idle(self) -> None:
        if self._idle_waiter is not None and not self._idle_waiter.done():
            self._idle_waiter.set_result(None)

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._log.error("Serving a stream failed: %s: %s", type(error).__name__, error, exc_info=error)


class _Prefixed:
    """A stream whose first bytes were read together with its opening."""

    __slots__ = ("_first", "_stream")

    def __init__(self, first: bytes, stream: Stream) -> None:
        self._first = first
        self._stream = stream

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `ByteReader.receive`. Cancel at any time: no byte is lost."""
        return self._take(limit) if self._first else await self._stream.receive(limit)

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `ByteReader.receive_nowait`."""
        return self._take(limit) if self._first else self._stream.receive_nowait(limit)

    def _take(self, limit: int) -> bytes:
        data, self._first = self._first[:limit], self._first[limit:]
        return data


def _abort(stream: Stream) -> None:
    stream.reset()
    stream.stop()


async def _judged(request: OriginRequest, route: Route, guards: Sequence[Guard]) -> Rejection | None:
    """Return the answer of the first stage that refuses, or None where all let the request pass."""
    for stage in route.stages:
        if (rejection := await stage.admit(request, route.rule)) is not None:
            return rejection
    for guard in guards:
        if (rejection := await guard.admit(request)) is not None:
            return rejection
    return None


def _fail(stream: Stream, entry: Entry | None, text: str, *, status: int = 502, metadata: Metadata = ()) -> None:
    """Say in a ConnectResponse why there is no response (wire.md 7).

    The reference sends no status; an edge that looks for one finds it where it is not the usual 502.
    """
    if entry is not None:
        entry.status, entry.error = status, text
    if status != 502:
        metadata = ((STATUS_KEY, str(status).encode("ascii")), *metadata)
    stream.send_nowait(
        encode_connect_response(ConnectResponse(error=text[:MAX_ERROR_CHARS], metadata=metadata)), finish=True
    )
