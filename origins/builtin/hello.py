"""`hello_world`: the built-in test service, answered in this process without a listener (reference/ingress.md 8)."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
from urllib.parse import parse_qs, urlsplit

from pyconnector.ingress.config.durations import parse_duration
from pyconnector.origins.base import (
    ByteReader,
    Headers,
    Origin,
    OriginError,
    OriginRequest,
    OriginResponse,
    RequestKind,
)
from pyconnector.origins.builtin import hello_page
from pyconnector.origins.builtin.hello_echo import EchoTunnel
from pyconnector.origins.builtin.memory import MemoryResponse
from pyconnector.origins.websocket import accept

#: Seconds between ticks of the event stream where the request does not say, and the least it may say.
DEFAULT_TICK = 10.0
MIN_TICK = 0.001
#: Bytes of a request's body that the page shows.
MAX_BODY_SHOWN = 16 * 1024

_log = logging.getLogger("pyconnector.origin")

_SAFE: Headers = [
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
]


class HelloOrigin(Origin):
    """Shows requests, tells its uptime, ticks and echoes."""

    def __init__(self, host_header: str = "") -> None:
        self._host_header = host_header
        self._started = datetime.datetime.now(datetime.UTC)

    async def start(self) -> None:
        """Say that it is there: whoever starts it for a try looks for that."""
        _log.info("Starting Hello World service, answered in this process")

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer; cancel while the body is being read loses it.

        Raises:
            OriginError: it is a TCP stream by address.
        """
        if request.kind is RequestKind.TCP:
            raise OriginError("A TCP stream cannot be sent to an HTTP service")
        try:
            url = urlsplit(request.target)
        except ValueError:
            return _answer(400, b"text/plain; charset=utf-8", b"not a path\n", request)
        if url.path == "/ws":
            return self._echo(request, body)
        if url.path == "/uptime":
            return _answer(200, b"application/json", self._uptime(), request)
        if url.path == "/_health":
            return _answer(200, b"text/plain; charset=utf-8", b"ok", request)
        if url.path == "/sse":
            return TickingResponse(_tick(url.query))
        return await self._page(request, body)

    async def _page(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        shown = b""
        if request.body_length != 0:
            while len(shown) <= MAX_BODY_SHOWN and (data := await body.receive(MAX_BODY_SHOWN)):
                shown += data
        page = hello_page.render(
            request, self._host_header or request.host, shown[:MAX_BODY_SHOWN], cut=len(shown) > MAX_BODY_SHOWN
        )
        return _answer(200, b"text/html; charset=utf-8", page, request)

    def _uptime(self) -> bytes:
        up = datetime.datetime.now(datetime.UTC) - self._started
        facts = {"startTime": self._started.isoformat(), "uptime": f"{up.total_seconds():.3f}s"}
        return json.dumps(facts).encode()

    def _echo(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        headers = accept(request)
        if request.kind is not RequestKind.WEBSOCKET or not headers:
            return _answer(400, b"text/plain; charset=utf-8", b"a WebSocket is spoken here\n", request)
        origin = next((value for name, value in request.headers if name.lower() == b"origin"), b"")
        if origin and not _is_same_host(origin, self._host_header or request.host):
            return _answer(403, b"text/plain; charset=utf-8", b"another site may not open this WebSocket\n", request)
        tunnel = EchoTunnel(headers)
        tunnel.echo(body)
        return tunnel


class TickingResponse(MemoryResponse):
    """An event stream that counts, one event per tick, until the visitor leaves."""

    def __init__(self, seconds: float) -> None:
        super().__init__(200, [(b"Content-Type", b"text/event-stream; charset=utf-8"), *_SAFE], ended=False)
        self._seconds = seconds
        self._count = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        if not self.size:  # a visitor who does not read misses ticks, and holds nothing up
            self.put(b"%d\n\n" % self._count)
        self._count += 1
        self._timer = self._loop.call_later(self._seconds, self._tick)

    async def finish(self) -> None:
        """Stop ticking. Never waits."""
        self.abort()

    def abort(self) -> None:
        """Stop ticking. Idempotent."""
        self._timer.cancel()
        super().abort()


def _answer(status: int, kind: bytes, body: bytes, request: OriginRequest) -> OriginResponse:
    headers = [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), *_SAFE]
    return MemoryResponse(status, headers, b"" if request.method == "HEAD" else body)


def _tick(query: str) -> float:
    try:
        return max(MIN_TICK, parse_duration(parse_qs(query)["freq"][0]))
    except (KeyError, ValueError):
        return DEFAULT_TICK


def _is_same_host(origin: bytes, host: str) -> bool:
    """As the reference: the Origin's host against Host without its port."""
    try:
        theirs = urlsplit(origin.decode("latin-1")).hostname
        ours = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return theirs is not None and theirs == ours
