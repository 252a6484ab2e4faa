"""Echo requests of the edge to private addresses: whether a route leads to somebody (reference/wire.md 13)."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.icmp import Echo, decode_echo, quoted_by_time_exceeded

if TYPE_CHECKING:
    from pyconnector.edge.private.datagrams.link import DatagramLink

#: Where the edge's own packets come from: the first of the addresses that a mesh gives to clients (mesh.md 1).
SOURCES: Final[dict[int, IPv4Address | IPv6Address]] = {
    4: IPv4Address("100.96.0.1"),
    6: IPv6Address("2606:4700:cf1:1000::1"),
}
#: Seconds that a reply is waited for.
TIMEOUT: Final = 3.0
#: Pings that may wait for their replies at once.
MAX_WAITING: Final = 1_024


class NoReply(Exception):
    """Nobody answered. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """What came back."""

    source: IPv4Address | IPv6Address
    data: bytes
    expired: bool
    "The hop limit was used up on the way: `source` is that hop, `data` the beginning of the packet."


class Pings:
    """Sends echo requests and tells their replies apart."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], asyncio.Future[Pong]] = {}
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<Pings waiting={len(self._waiting)}>"

    async def ping(
        self, link: DatagramLink, address: IPv4Address | IPv6Address, *, data: bytes = b"", ttl: int = 64
    ) -> Pong:
        """Return what comes back from `address`. Cancel at any time.

        Raises:
            NoReply: nothing came in time, or the connection takes no packet.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise NoReply("Too many echo requests wait for their replies.")
        link.on_packet = self.arrived
        self._sequence = (self._sequence + 1) & 0xFFFF
        key = (int.from_bytes(os.urandom(2), "big"), self._sequence)
        request = Echo(
            source=SOURCES[address.version], destination=address, ttl=ttl, identifier=key[0], sequence=key[1], data=data
        )
        waiter: asyncio.Future[Pong] = asyncio.get_running_loop().create_future()
        self._waiting[key] = waiter
        try:
            if not link.send_packet(request.encode()):
                raise NoReply("The connection takes no packet of that size.")
            async with asyncio.timeout(TIMEOUT):
                return await waiter
        except TimeoutError:
            raise NoReply(f"{address} did not answer within {TIMEOUT:g} s.") from None
        finally:
            del self._waiting[key]

    def arrived(self, packet: bytes) -> None:
        """Take an IP packet of a connector. Never raises."""
        try:
            exceeded = quoted_by_time_exceeded(packet)
            echo = decode_echo(exceeded[1] if exceeded is not None else packet)
        except ProtocolError:
            return
        if echo.is_reply is (exceeded is not None):
            return
        waiter = self._waiting.get((echo.identifier, echo.sequence))
        if waiter is None or waiter.done():
            return
        if exceeded is not None:
            waiter.set_result(Pong(source=exceeded[0], data=exceeded[1], expired=True))
        else:
            waiter.set_result(Pong(source=echo.source, data=echo.data, expired=False))
