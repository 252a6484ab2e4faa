"""Packets between an interface and the gateway: HTTP datagrams of a CONNECT-IP stream, or its capsules (RFC 9484)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.agent.carry import PIECE
from pyconnector.agent.interface.inbound import may_arrive
from pyconnector.protocol.capsules import DATAGRAM, encode_udp_capsule
from pyconnector.protocol.connect_ip import (
    ADDRESS_ASSIGN,
    ROUTE_ADVERTISEMENT,
    IpCapsuleReader,
    decode_addresses,
    decode_routes,
    ip_packet,
)
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.agent.interface.device import Tun
    from pyconnector.agent.multiplexed import StreamEnd
    from pyconnector.protocol.connect_ip import IpRange, PrefixAddress

#: Packets that are taken from the interface in one turn of the loop.
PACKETS_A_TURN: Final = 64
#: Bytes of capsules that wait to be sent; packets beyond are dropped.
MAX_BACKLOG: Final = 256 * 1024


class Carrying:
    """One stream, from its answer to its end."""

    def __init__(self, tun: Tun, end: StreamEnd, on_told: Callable[[Carrying], Awaitable[None]]) -> None:
        """`on_told` is called where the edge says something about addresses or routes."""
        self.addresses: tuple[PrefixAddress, ...] = ()
        self.ranges: tuple[IpRange, ...] = ()
        self.sent = self.received = self.dropped = 0
        "Packets."
        self._own: frozenset[bytes] = frozenset()
        self._tun = tun
        self._end = end
        self._on_told = on_told

    def __repr__(self) -> str:
        return f"<Carrying sent={self.sent} received={self.received} dropped={self.dropped}>"

    async def run(self) -> None:
        """Carry until the edge ends it. Cancel at any time.

        Raises:
            OSError: the gateway broke off, or the interface is gone.
            ProtocolError: it sends what is no capsules.
        """
        loop = asyncio.get_running_loop()
        self._end.stream.set_datagram_handler(self._arrived)
        loop.add_reader(self._tun.descriptor, self._readable)
        try:
            await self._read()
        finally:
            loop.remove_reader(self._tun.descriptor)
            self._end.stream.set_datagram_handler(None)

    async def _read(self) -> None:
        reader = IpCapsuleReader()
        while data := await self._end.receive():
            reader.feed(data)
            told = False
            while (capsule := reader.next()) is not None:
                kind, value = capsule
                if kind == DATAGRAM:
                    self._arrived(value)
                elif kind == ADDRESS_ASSIGN:
                    self.addresses, told = decode_addresses(kind, value), True
                    self._own = frozenset(each.address.packed for each in self.addresses)
                elif kind == ROUTE_ADVERTISEMENT:
                    self.ranges, told = decode_routes(value), True
            if told:
                await self._on_told(self)
            elif len(data) == PIECE:
                await asyncio.sleep(0)

    def _arrived(self, datagram: bytes) -> None:
        try:
            packet = ip_packet(datagram)
        except ProtocolError:
            packet = None
        if packet and may_arrive(packet, self._own) and self._tun.write(packet):
            self.received += 1
        else:
            self.dropped += 1

    def _readable(self) -> None:
        for _ in range(PACKETS_A_TURN):
            try:
                packet = self._tun.read()
            except OSError:
                self._end.abort()  # which ends `run`
                return
            if packet is None:
                return
            sent = self._end.stream.send_datagram(b"\0" + packet)
            if sent is None:
                sent = self._end.send_now(encode_udp_capsule(packet), MAX_BACKLOG)
            self.sent += sent
            self.dropped += not sent
