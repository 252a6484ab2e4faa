"""A client of CONNECT-IP over HTTP/3 that makes its packets by hand, and a TCP end that loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from pyconnector.protocol.capsules import DATAGRAM
from pyconnector.protocol.connect_ip import (
    ADDRESS_ASSIGN,
    ROUTE_ADVERTISEMENT,
    IpCapsuleReader,
    IpRange,
    PrefixAddress,
    decode_addresses,
    decode_routes,
    encode_path,
)
from pyconnector.transport.ip.packets import TCP, IpPacket, decode_packet
from pyconnector.transport.ip.tcp.segment import ACK, FIN, RST, SYN, Segment, decode_segment, encode_segment
from pyconnector.transport.ip.udp import encode_udp

if TYPE_CHECKING:
    from tests.support.peers.h3_visitor import H3Visitor


class IpClient:
    def __init__(self, visitor: H3Visitor, stream_id: int) -> None:
        self.visitor, self.stream_id = visitor, stream_id
        self.addresses: tuple[PrefixAddress, ...] = ()
        self.routes: tuple[IpRange, ...] | None = None
        self._reader = IpCapsuleReader()
        self._read = self._taken = 0
        self.in_capsules = 0
        self.packets: list[IpPacket] = []

    @classmethod
    async def at(cls, visitor: H3Visitor, *fields: tuple[bytes, bytes], path: bytes = encode_path()) -> IpClient:
        """Ask for IP, and wait for addresses and routes."""
        pseudo = ((b":method", b"CONNECT"), (b":protocol", b"connect-ip"), (b":scheme", b"https"))
        stream_id = visitor.open(*pseudo, (b":authority", b"edge"), (b":path", path), *fields)
        client = cls(visitor, stream_id)
        assert (await visitor.head(stream_id)).status == 200
        await visitor.until(client.look(lambda: client.routes is not None))
        return client

    @property
    def address(self) -> bytes:
        return next(each.address.packed for each in self.addresses if isinstance(each.address, IPv4Address))

    @property
    def address6(self) -> bytes:
        return next(each.address.packed for each in self.addresses if isinstance(each.address, IPv6Address))

    def forget_addresses(self) -> None:
        self.addresses = ()

    def look(self, met: Callable[[], bool]) -> Callable[[], bool]:
        """A condition for `visitor.until` that reads first what came."""

        def condition() -> bool:
            answer = self.visitor.answer(self.stream_id)
            self._reader.feed(answer.body[self._read :])
            self._read = len(answer.body)
            while (capsule := self._reader.next()) is not None:
                if capsule[0] == ADDRESS_ASSIGN:
                    self.addresses = decode_addresses(*capsule)
                elif capsule[0] == ROUTE_ADVERTISEMENT:
                    self.routes = decode_routes(capsule[1])
                elif capsule[0] == DATAGRAM:
                    self.in_capsules += 1
                    self.packets.append(decode_packet(capsule[1][1:]))
            for datagram in answer.datagrams[self._taken :]:
                assert datagram[:1] == b"\0"
                self.packets.append(decode_packet(datagram[1:]))
            self._taken = len(answer.datagrams)
            return met()

        return condition

    def send(self, packet: bytes) -> None:
        self.visitor.send_datagram(self.stream_id, b"\0" + packet)

    async def packet(self, fits: Callable[[IpPacket], bool] = lambda packet: True) -> IpPacket:
        """Wait for a packet, and take it."""
        await self.visitor.until(self.look(lambda: any(fits(each) for each in self.packets)))
        found = next(each for each in self.packets if fits(each))
        self.packets.remove(found)
        return found

    def send_udp(self, host: str, port: int, data: bytes, *, source: bytes | None = None) -> None:
        packed = ip_address(host).packed
        own = self.address if len(packed) == 4 else self.address6
        self.send(encode_udp(source or own, 5_000, packed, port, data))


class TcpEnd:
    """One connection. What is sent is taken to arrive, since nothing is lost here; what comes is taken in order."""

    def __init__(self, client: IpClient, host: str, port: int, *, source_port: int) -> None:
        self._client = client
        self._remote, self._port, self._source_port = ip_address(host).packed, port, source_port
        self._local = client.address if len(self._remote) == 4 else client.address6
        self.next, self.seen = 1_001, 0
        self.received = b""
        self.ended = False

    def send(self, flags: int, data: bytes = b"", **more: int) -> None:
        segment = Segment(
            source_port=self._source_port, destination_port=self._port, sequence=self.next, acknowledgement=self.seen,
            flags=flags, window=60_000, payload=data, **more,
        )  # fmt: skip
        self.next += segment.length
        self._client.send(encode_segment(segment, self._local, self._remote))

    async def connect(self) -> IpPacket:
        """Send a SYN; return what answers: the connection is open if that is a SYN too."""
        self.next -= 1
        self.send(SYN, mss=1_200)
        packet = await self._client.packet()
        if packet.protocol == TCP and (answer := decode_segment(packet)).flags & SYN:
            self.seen = answer.sequence + 1
            self.send(ACK)
        return packet

    async def step(self) -> int:
        """Take one segment; return its flags."""
        segment = decode_segment(await self._client.packet(lambda packet: packet.protocol == TCP))
        if segment.length and segment.sequence != self.seen & 0xFFFF_FFFF:
            self.send(ACK)  # one before it found no room
            return segment.flags
        self.received += segment.payload
        self.ended = self.ended or bool(segment.flags & FIN)
        self.seen += segment.length
        if segment.length and not segment.flags & RST:
            self.send(ACK)
        return segment.flags
