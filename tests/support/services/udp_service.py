"""A private UDP service for tests: echoes by default, and remembers what came."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Self


class UdpService:
    """Bound to loopback between `async with`; `answer` makes the reply to each datagram, None for none."""

    def __init__(self, answer: Callable[[bytes], bytes | None] = lambda data: data, *, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self._host = host
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.setblocking(False)
        self._socket.bind((self._host, 0))
        self.port: int = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    async def __aexit__(self, *exc: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send to whoever sent last."""
        self._socket.sendto(data, self.peers[-1])

    async def wait_for(self, count: int) -> None:
        """Wait until `count` datagrams came."""
        async with asyncio.timeout(30):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def _read(self) -> None:
        for _ in range(64):
            try:
                data, peer = self._socket.recvfrom(65_535)
            except BlockingIOError:
                break
            self.received.append(data)
            self.peers.append(peer)
            reply = self.answer(data)
            if reply is not None:
                self._socket.sendto(reply, peer)
        self._arrived.set()
