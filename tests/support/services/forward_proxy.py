"""A forward proxy for tests: HTTP CONNECT or SOCKS5, with a password or without, that counts what it carried."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ForwardProxy:
    """What the proxy was asked and where it is; `names` leads names that it knows elsewhere."""

    kind: str
    credentials: tuple[bytes, bytes] | None = None
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: int = 0
    port: int = 0
    serving: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"{self.kind}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError, ValueError):
            opened = await (self._socks5 if self.kind == "socks5" else self._http)(reader, writer)
            if opened is not None:
                await asyncio.gather(_pump(reader, opened[1]), _pump(opened[0], writer))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split()[1].decode().rpartition(":")
        wanted = self.credentials and base64.b64encode(b":".join(self.credentials))
        if wanted and b"Proxy-Authorization: Basic " + wanted not in head:
            self.refused += 1
            writer.write(b'HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
            await writer.drain()
            return None
        opened = await self._connect(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return opened

    async def _socks5(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        method = 0 if self.credentials is None else 2
        writer.write(bytes([5, method if method in methods else 0xFF]))
        if method == 2:
            name = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            right = (name, password) == self.credentials
            self.refused += not right
            writer.write(bytes([1, not right]))
            await writer.drain()
            if not right:
                return None
        kind = (await reader.readexactly(4))[3]
        length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        data = await reader.readexactly(length)
        host = data.decode() if kind == 3 else str(ipaddress.ip_address(data))
        opened = await self._connect(host, int.from_bytes(await reader.readexactly(2)))
        writer.write(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        return opened

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.asked.append(f"{host}:{port}")
        return await asyncio.open_connection(*self.names.get(host, (host, port)))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def forward_proxy(
    kind: str, credentials: tuple[bytes, bytes] | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ForwardProxy]:
    """Run one on loopback, within the block."""
    proxy = ForwardProxy(kind, credentials)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.serving:
            task.cancel()
        await asyncio.gather(*proxy.serving, return_exceptions=True)
