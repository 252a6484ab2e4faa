"""An HTTP server that takes batches, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What came, and how the next one is answered."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.records: list[dict[str, Any]] = []
        "Those of batches that were taken."
        self.answer = 200
        self.limit = 0
        "Records of a batch beyond which it is too large; 0 for none."
        self.hold: asyncio.Event | None = None
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append(Request(headers, body))
                if self.hold is not None:
                    await self.hold.wait()
                lines = gzip.decompress(body).splitlines()
                records = [json.loads(line) for line in lines if line.startswith(b"{")]
                status = 413 if self.limit and len(records) > self.limit else self.answer
                if status == 200:
                    self.records += records
                writer.write(b"HTTP/1.1 %d Told\r\nContent-Length: 0\r\n\r\n" % status)
        writer.close()


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    try:
        yield receiver
    finally:
        server.close()
