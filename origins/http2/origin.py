"""The HTTP/2 origin: connections shared by many requests, and HTTP/1.1 where the service chooses that."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.failures import ended_abruptly, not_connected
from pyconnector.origins.http2.connection import FIRST_STREAMS, Http2Connection, speaks_http2
from pyconnector.origins.http2.exchange import Exchange, Unprocessed
from pyconnector.origins.http2.headers import encode_headers
from pyconnector.origins.net.offered_body import OfferedBody

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings
    from pyconnector.origins.base import Headers
    from pyconnector.origins.net.dial import Dialer, Endpoint

#: Connections to one service at most; each carries as many requests as the service allows.
MAX_CONNECTIONS = 16
#: Seconds before a request that the service refused unprocessed (RFC 9113 8.7) is sent again, try by try.
RETRY_WAITS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
#: Largest piece read from the visitor at once.
PIECE_BYTES = 64 * 1024


class Http2Origin(Origin):
    """One HTTP/2 service. With TLS, ALPN decides on each connection; `fallback` serves what is not HTTP/2."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: OriginSettings,
        *,
        make_dialer: Callable[[], Dialer],
        fallback: Origin | None,
        tls: bool,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._make_dialer = make_dialer
        self._dialer: Dialer | None = None
        self._fallback = fallback
        self._scheme = b"https" if tls else b"http"
        self._tls = tls
        self._connections: list[Http2Connection] = []
        self._dialling = asyncio.Lock()
        self._changed = asyncio.Event()
        self._idle_timers: dict[Http2Connection, asyncio.TimerHandle] = {}
        self._stream_limit = FIRST_STREAMS
        self._speaks_http1 = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<Http2Origin {self._endpoint}, {len(self._connections)} connections>"

    async def start(self) -> None:
        """Load what TLS trusts. Cancel leaves it unstarted. Raises OriginError: caPool gives nothing."""
        self._dialer = self._make_dialer()
        if self._fallback is not None:
            await self._fallback.start()

    async def close(self) -> None:
        """Close idle connections; busy ones close after their last exchange. Idempotent."""
        self._closed = True
        for connection in list(self._connections):
            self._changed_on(connection)
        if self._fallback is not None:
            await self._fallback.close()

    async def probe(self) -> None:
        """See `Origin.probe`."""
        dialer = self._dialer or self._make_dialer()
        (await dialer.open_socket(self._endpoint)).close()

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Send the request on a shared connection. Cancel resets its stream.

        Raises:
            OriginError: the service cannot be reached or breaks the protocol, or the request cannot be forwarded.
        """
        if request.kind is RequestKind.TCP:
            raise OriginError("A TCP stream cannot be sent to an HTTP service")
        if request.kind is RequestKind.WEBSOCKET:
            # WebSocket stays on HTTP/1.1, as in the reference (ingress.md 7); few origins know RFC 8441.
            if self._fallback is None:
                raise OriginError("A WebSocket cannot be opened on an h2c service")
            return await self._fallback.serve(request, body)
        host_header = "" if self._endpoint.path else self._settings.http_host_header
        headers = encode_headers(request, scheme=self._scheme, host_header=host_header)
        offered = OfferedBody(body) if request.body_length != 0 else None
        for wait in (*RETRY_WAITS, None):
            connection = None if self._speaks_http1 else await self._connection()
            if connection is None:
                assert self._fallback is not None
                return await self._fallback.serve(request, offered or body)
            try:
                response = await self._exchange(connection, headers, request.body_length, offered)
            except Unprocessed as lost:
                # Safe to repeat whatever the method, for the service did not see it, if all of its body is still there.
                if wait is None or (offered is not None and not offered.rewind()):
                    raise not_connected(f"{self._endpoint}: {lost}") from lost
            else:
                if offered is not None:
                    offered.settle()
                return response
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _exchange(
        self, connection: Http2Connection, headers: Headers, length: int | None, body: OfferedBody | None
    ) -> OriginResponse:
        exchange = connection.begin(headers, finish=body is None)
        upload: asyncio.Task[None] | None = None
        if body is not None:
            upload = asyncio.get_running_loop().create_task(
                self._upload(connection, exchange, length, body), name="upload to an HTTP/2 origin"
            )
            exchange.on_abandoned = functools.partial(_cancel, upload)
            upload.add_done_callback(lambda task: _uploaded(task, exchange))
        try:
            await exchange.head
        except Unprocessed:
            if upload is not None:
                await asyncio.wait({upload})  # called off; the body has one reader at a time
            raise
        except BaseException:
            exchange.abort()
            raise
        return exchange

    async def _upload(
        self, connection: Http2Connection, exchange: Exchange, length: int | None, body: ByteReader
    ) -> None:
        left = length
        while left is None or left > 0:
            data = body.receive_nowait(PIECE_BYTES)
            if data is None:
                data = await body.receive(PIECE_BYTES)
            if not data:
                break
            if left is not None:
                left -= len(data)
                if left < 0:
                    raise ended_abruptly("its body is longer than its Content-Length")
            await connection.send(exchange, data)
        if left:
            raise ended_abruptly(f"its body is {left} bytes shorter than its Content-Length")
        connection.end(exchange)

    # -- connections -----------------------------------------------------------------------------------------------

    async def _connection(self) -> Http2Connection | None:
        """A connection with room, opened if need be; None where the service speaks HTTP/1.1."""
        while True:
            for connection in self._connections:
                if connection.has_room:
                    self._cancel_idle(connection)
                    return connection
            if len(self._connections) < MAX_CONNECTIONS:
                async with self._dialling:
                    # Others may have dialled while this one waited for its turn.
                    if len(self._connections) < MAX_CONNECTIONS and not any(one.has_room for one in self._connections):
                        if self._speaks_http1 or not await self._dial():
                            return None
                continue
            self._changed.clear()
            await self._changed.wait()

    async def _dial(self) -> bool:
        if self._dialer is None:
            await self.start()
        assert self._dialer is not None
        transport, connection = await self._dialer.connect(
            self._endpoint,
            lambda: Http2Connection(self._changed_on, self._stream_limit),
            server_name=self._settings.origin_server_name,
        )
        if self._tls and not speaks_http2(transport):
            # Not asked again for each request: a service does not change its mind without a restart.
            self._speaks_http1 = True
            transport.abort()
            return False
        self._connections.append(connection)
        return True

    def _changed_on(self, connection: Http2Connection) -> None:
        self._changed.set()
        self._stream_limit = connection.stream_limit
        if connection not in self._connections:
            return
        if not connection.is_open:
            if not connection.active:
                self._connections.remove(connection)
                self._cancel_idle(connection)
                connection.close()
        elif not connection.active:
            if self._closed:
                self._connections.remove(connection)
                self._cancel_idle(connection)
                connection.close()
            elif self._settings.keepalive_timeout > 0 and connection not in self._idle_timers:
                loop = asyncio.get_running_loop()
                self._idle_timers[connection] = loop.call_later(
                    self._settings.keepalive_timeout, self._expire, connection
                )

    def _expire(self, connection: Http2Connection) -> None:
        self._idle_timers.pop(connection, None)
        if not connection.active and connection in self._connections:
            self._connections.remove(connection)
            connection.close()

    def _cancel_idle(self, connection: Http2Connection) -> None:
        timer = self._idle_timers.pop(connection, None)
        if timer is not None:
            timer.cancel()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _uploaded(task: asyncio.Task[None], exchange: Exchange) -> None:
    """An upload ended: by itself, or because of what the visitor or the service did."""
    if task.cancelled():
        return
    error = task.exception()
    if error is None or isinstance(error, Unprocessed):
        return
    cause = error if isinstance(error, OriginError) else ended_abruptly(str(error) or type(error).__name__)
    exchange.abort_with(cause)
