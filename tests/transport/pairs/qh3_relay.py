"""A UDP relay between a client and a server, which can lose, repeat, spoil and readdress what passes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pyconnector.transport.udp.batched import Datagram, UdpEndpoint

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

#: Given one datagram, what is passed on in its place.
Mangle = Callable[[bytes], Iterable[bytes]]


class Relay:
    """Clients send to `address`; the server sees them come from the relay's outer socket, which `rebind` replaces."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._client: Address | None = None
        self._inner: UdpEndpoint | None = None
        self._outer: UdpEndpoint | None = None
        self.to_server: Mangle = lambda data: (data,)
        self.to_client: Mangle = lambda data: (data,)
        self.is_cut = False

    async def open(self) -> None:
        """Bind both sockets."""
        self._inner = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=self._from_client)
        await self.rebind()

    async def rebind(self) -> None:
        """Go on from another port, as a NAT that forgot its mapping does."""
        old = self._outer
        self._outer = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=self._from_server)
        if old is not None:
            old.close()

    def close(self) -> None:
        """Close both sockets."""
        for endpoint in (self._inner, self._outer):
            if endpoint is not None:
                endpoint.close()

    @property
    def address(self) -> Address:
        """Where clients send to."""
        assert self._inner is not None
        return self._inner.address

    @property
    def outer_address(self) -> Address:
        """Where the server sees clients come from."""
        assert self._outer is not None
        return self._outer.address

    def _from_client(self, datagrams: list[Datagram]) -> None:
        self._client = datagrams[-1][1]
        self._pass(self._outer, self._server, self.to_server, datagrams)

    def _from_server(self, datagrams: list[Datagram]) -> None:
        if self._client is not None:
            self._pass(self._inner, self._client, self.to_client, datagrams)

    def _pass(self, endpoint: UdpEndpoint | None, to: Address, mangle: Mangle, datagrams: list[Datagram]) -> None:
        if endpoint is not None and not self.is_cut:
            endpoint.send([(piece, to) for data, _ in datagrams for piece in mangle(data)])


def bad_path(seed: int, lost: float) -> Mangle:
    """Lose some datagrams, repeat some, and hold some back behind up to ten others."""
    chance = random.Random(seed)
    late: list[bytes] = []

    def mangle(data: bytes) -> list[bytes]:
        fate = chance.random()
        if fate < lost:
            return []
        if fate < lost + 0.05:
            late.append(data)
            return []
        passed = [data, data] if fate > 0.97 else [data]
        if late and (len(late) > 10 or chance.random() < 0.2):
            passed += late
            late.clear()
        return passed

    return mangle


@asynccontextmanager
async def relay_to(server: Address) -> AsyncIterator[Relay]:
    """Yield a running relay."""
    relay = Relay(server)
    try:
        await relay.open()
        yield relay
    finally:
        relay.close()
