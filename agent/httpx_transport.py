"""An httpx transport through the gateway: `httpx.AsyncClient(transport=MeshTransport(mesh))`.

httpx is not installed with the package; whoever uses this has it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from pyconnector.agent.errors import MeshError
from pyconnector.agent.tls_end import TlsEnd
from pyconnector.transport.tls.client_context import client_context

if TYPE_CHECKING:
    from pyconnector.agent.carry import Carrier
    from pyconnector.agent.client import Mesh


class MeshTransport(httpx.AsyncBaseTransport):
    """Sends every request of a client through one gateway; names are resolved behind the tunnel."""

    def __init__(self, mesh: Mesh, *, verify: ssl.SSLContext | None = None, http2: bool = False) -> None:
        """`verify` is what services over https are verified with; the system's authorities by default."""
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or client_context(), http2=http2, network_backend=_Backend(mesh)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`.

        Raises:
            httpx.ConnectError: the gateway refused, or the service was not reached.
        """
        assert isinstance(request.stream, httpx.AsyncByteStream)
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )  # fmt: skip
        try:
            answer = await self._pool.handle_async_request(asked)
        except httpcore.ConnectError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except httpcore.TimeoutException as error:
            raise httpx.TimeoutException(str(error), request=request) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.TransportError(str(error), request=request) from error
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                return _Stream(await self._mesh.open_end(host, port))
        except MeshError as error:
            raise httpcore.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}:{port} was not reached in time") from error


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, end: Carrier, tls: TlsEnd | None = None) -> None:
        self._end = end
        self._tls = tls
        self._left = b""  # of what came at once and was not asked for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                if self._tls is not None:
                    return await self._tls.receive(max_bytes)
                data = self._left or await self._end.receive()
        except TimeoutError as error:
            raise httpcore.ReadTimeout("the service did not answer in time") from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        self._left = data[max_bytes:]
        return data[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await (self._end if self._tls is None else self._tls).send(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout("the service takes nothing") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._end.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        tls = TlsEnd(self._end, ssl_context, server_hostname or "")
        try:
            async with asyncio.timeout(timeout):
                await tls.handshake()
        except TimeoutError as error:
            self._end.abort()
            raise httpcore.ConnectTimeout("TLS was not established in time") from error
        except OSError as error:
            self._end.abort()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            self._end.abort()
            raise
        return _Stream(self._end, tls)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object" and self._tls is not None:
            return self._tls.ssl_object
        # Asked of connections that wait for a request: one that has ended is not used again.
        return self._end.has_ended if info == "is_readable" else None
