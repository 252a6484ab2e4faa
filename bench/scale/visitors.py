"""Visitors of the edge over HTTP/1.1 who stay connected: as many as asked for, a few of whom ask at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque

_REQUEST = b"GET /bytes/1024 HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
_BODY = 1024
#: Visitors who connect at once.
AT_ONCE = 100


class _Visitor(asyncio.Protocol):
    """One connection. An answer is looked at for its status and its length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer = bytearray()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head = self._answer.find(b"\r\n\r\n")
        if head >= 0 and len(self._answer) >= head + 4 + _BODY:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ask(self) -> None:
        """Ask once and wait for the answer. Cancel at any time.

        Raises:
            ConnectionError: it is none.
        """
        if self._transport is None:
            raise ConnectionError("the edge closed a visitor's connection")
        self._answer.clear()
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(_REQUEST)
        await self._waiter
        if not self._answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not a 200: {bytes(self._answer[:40])!r}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Visitors:
    """A crowd in front of one edge."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._crowd: deque[_Visitor] = deque()

    async def grow(self, number: int) -> None:
        """Let there be so many. Cancel leaves those that came."""
        loop = asyncio.get_running_loop()
        while (missing := number - len(self._crowd)) > 0:
            came = await asyncio.gather(
                *(loop.create_connection(_Visitor, *self._address) for _ in range(min(AT_ONCE, missing)))
            )
            self._crowd.extend(visitor for _, visitor in came)

    async def ask(self, at_once: int, seconds: float) -> int:
        """Let each ask in turn, so many at once; return how many were answered. Cancel at any time.

        Raises:
            ConnectionError: one was not.
        """
        answered, end = 0, time.monotonic() + seconds

        async def loop() -> None:
            nonlocal answered
            while time.monotonic() < end:
                visitor = self._crowd.popleft()
                try:
                    await visitor.ask()
                finally:
                    self._crowd.append(visitor)
                answered += 1

        await asyncio.gather(*(loop() for _ in range(min(at_once, len(self._crowd)))))
        return answered

    def close(self) -> None:
        """Let everybody leave."""
        for visitor in self._crowd:
            visitor.close()
        self._crowd.clear()
