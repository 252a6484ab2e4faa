"""A visitor with nothing but a socket: writes what it is told and takes responses apart by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(slots=True)
class Response:
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        found = [value for field, value in self.fields if field.lower() == name.lower()]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None


class RawVisitor:
    """One connection to an address."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    async def __aenter__(self) -> RawVisitor:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    def abort(self) -> None:
        """Leave with a TCP reset; a plain close only says that nothing more will be sent."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def head(self) -> Response:
        """Read one head; the body is left to the caller."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        fields = [(line.partition(":")[0], line.partition(":")[2].strip()) for line in lines[1:-2]]
        return Response(int(lines[0].split(" ")[1]), fields, b"")

    async def response(self, *, head_only: bool = False) -> Response:
        """Read one whole response."""
        response = await self.head()
        if head_only or response.status in (204, 304):
            return response
        length = response.field("Content-Length")
        if response.field("Transfer-Encoding") == "chunked":
            while piece := await self.chunk():
                response.body += piece
        elif length is not None:
            response.body = await self.reader.readexactly(int(length))
        else:
            response.body = await self.reader.read()
        return response

    async def chunk(self) -> bytes:
        """Read one chunk; the last one is empty."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def request(self, data: bytes, *, head_only: bool = False) -> Response:
        self.send(data)
        return await self.response(head_only=head_only)


def get(path: str = "/", host: str = "app.test", *lines: str) -> bytes:
    """Return a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()
