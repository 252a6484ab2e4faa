"""What the tests of HTTP origins share: an origin on a scripted server, and requests for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.http1 import HttpOrigin
from pyconnector.origins.net.dial import Dialer, DialSettings, Endpoint
from tests.support.peers.raw_origin import RawOrigin, Script, raw_origin

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
OK_HI = OK_HEAD + b"Content-Length: 2\r\n\r\nhi"


def get(
    target: str = "/",
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    length: int | None = 0,
    kind: RequestKind = RequestKind.HTTP,
    host: str = "app.test",
) -> OriginRequest:
    return OriginRequest(kind=kind, method=method, target=target, host=host, headers=list(headers), body_length=length)


async def read_all(response: OriginResponse) -> bytes:
    """Read a body as the request path does, and finish."""
    pieces = []
    while True:
        data = response.receive_nowait()
        if data is None:
            data = await response.receive()
        if not data:
            break
        pieces.append(data)
    await response.finish()
    return b"".join(pieces)


@contextlib.asynccontextmanager
async def http_origin(
    *scripts: Script, settings: OriginSettings | None = None
) -> AsyncIterator[tuple[HttpOrigin, RawOrigin]]:
    """An `HttpOrigin` in front of a scripted server."""
    settings = settings or OriginSettings()
    async with raw_origin(*scripts) as server:
        origin = HttpOrigin(
            Endpoint(host="127.0.0.1", port=server.port),
            settings,
            make_dialer=lambda: Dialer(DialSettings(connect_timeout=settings.connect_timeout)),
        )
        await origin.start()
        try:
            yield origin, server
        finally:
            await origin.close()


async def until(condition: Callable[[], bool], patience: float = 2.0) -> None:
    """Wait for something that the other side does."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.001)
