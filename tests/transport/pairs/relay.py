"""A UDP relay between a client and a listener, with faults that a test turns on: the network as a hostile place."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


class Relay:
    """Passes datagrams on from `address` to the listener and back. `filter` says how often each one is delivered."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._front = _socket()
        self._back = _socket()
        self._client: Address | None = None
        self.address: Address = self._front.getsockname()
        self.filter: Callable[[bytes, bool], int] = lambda _data, _up: 1
        "Called with each datagram and whether it goes to the listener; returns how many copies are delivered."
        self.largest = 0
        "The largest datagram that was delivered."
        self._loop.add_reader(self._front, self._from_client)
        self._loop.add_reader(self._back, self._from_listener)

    def rebind(self) -> None:
        """Speak to the listener from another port, as a NAT that forgot does."""
        self._loop.remove_reader(self._back)
        self._back.close()
        self._back = _socket()
        self._loop.add_reader(self._back, self._from_listener)

    def send_to_listener(self, data: bytes) -> None:
        """Deliver something that the client never sent."""
        self._back.sendto(data, self._target)

    def close(self) -> None:
        for sock in (self._front, self._back):
            self._loop.remove_reader(sock)
            sock.close()

    def _from_client(self) -> None:
        for data, origin in _receive(self._front):
            self._client = origin
            self._deliver(data, self._back, self._target, up=True)

    def _from_listener(self) -> None:
        for data, _ in _receive(self._back):
            if self._client is not None:
                self._deliver(data, self._front, self._client, up=False)

    def _deliver(self, data: bytes, sock: socket.socket, address: Address, *, up: bool) -> None:
        for _ in range(self.filter(data, up)):
            self.largest = max(self.largest, len(data))
            sock.sendto(data, address)


class LossyFilter:
    """Loses and doubles datagrams by a seeded chance."""

    def __init__(self, *, loss: float, double: float, seed: int) -> None:
        self._chance = random.Random(seed)
        self._loss = loss
        self._double = double

    def __call__(self, data: bytes, up: bool) -> int:
        chance = self._chance.random()
        return 0 if chance < self._loss else 2 if chance > 1 - self._double else 1


@asynccontextmanager
async def relay_to(target: Address) -> AsyncIterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return sock


def _receive(sock: socket.socket) -> list[tuple[bytes, Address]]:
    received: list[tuple[bytes, Address]] = []
    while len(received) < 256:
        try:
            received.append(sock.recvfrom(65536))
        except BlockingIOError:
            break
    return received
