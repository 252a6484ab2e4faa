"""What httpx reads of a server is taken in slices, of which a turn of the loop has one, whatever number of connections
there are: the smallest units (interim responses, fields, chunks of a byte) cost h11 some 100 microseconds each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

#: Bytes of a slice.
SLICE = 1024


def verifying(*, trust_env: bool = True) -> ssl.SSLContext:
    """Return the TLS context for an httpx client: its own, but that a Common Name names nobody (RFC 9525 6.3).

    With `trust_env` the files of authorities that the environment names count, as with httpx's own.
    """
    context = httpx.create_ssl_context(trust_env=trust_env)
    context.hostname_checks_common_name = False
    return context


def read_in_slices(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Have `client`, which was just made, read so; return it."""
    turn = asyncio.Lock()
    # httpx has no public way to another network backend that keeps the proxies of the environment.
    for transport in {client._transport, *client._mounts.values()}:  # noqa: SLF001
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool: Any = transport._pool  # noqa: SLF001
            pool._network_backend = _Backend(pool._network_backend, turn)  # noqa: SLF001
    return client


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, inner: httpcore.AsyncNetworkBackend, turn: asyncio.Lock) -> None:
        self._inner, self._turn = inner, turn

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._turn)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.connect_unix_socket(path, timeout, socket_options), self._turn)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, turn: asyncio.Lock) -> None:
        self._inner, self._turn = inner, turn

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(min(max_bytes, SLICE), timeout)
        async with self._turn:
            await asyncio.sleep(0)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._turn)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
