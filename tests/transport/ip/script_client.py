"""A client of the stack that sends what the test says, and no more: packets in, packets out, a clock of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconnector.transport.ip.icmp import Error
from pyconnector.transport.ip.packets import TCP, IpPacket, decode_packet, encode_packet
from pyconnector.transport.ip.stack import Asked, IpStack, TcpAsked
from pyconnector.transport.ip.tcp.segment import ACK, SYN, Segment, decode_segment, encode_segment
from pyconnector.transport.ip.udp import encode_udp

if TYPE_CHECKING:
    from pyconnector.transport.ip.tcp.connection import Connection

CLIENT, SERVICE, ROUTER = bytes((10, 0, 0, 2)), bytes((10, 0, 0, 9)), bytes((10, 0, 0, 1))
CLIENT6, SERVICE6, ROUTER6 = b"\xfd" + bytes(14) + b"\2", b"\xfd" + bytes(14) + b"\x09", b"\xfd" + bytes(14) + b"\1"
ISN, PORT = 0xFFFF_FF00, 40_000
"So that sequence numbers begin anew soon."

__all__ = ["ACK", "SYN", "Error", "ScriptClient", "encode_packet", "encode_udp"]


class ScriptClient:
    def __init__(self) -> None:
        self.stack = IpStack(mtu=1280, secret=b"k" * 16, routers={4: ROUTER, 6: ROUTER6})
        self.stack.sources = frozenset((CLIENT, CLIENT6))
        self.now = 100.0
        self.next = (ISN + 1) & 0xFFFF_FFFF
        self.isn = 0
        "Of the stack."

    def packet(self, data: bytes) -> Asked | None:
        return self.stack.receive(data, self.now)

    def segment(self, flags: int = ACK, payload: bytes = b"", *, port: int = PORT, **more: Any) -> Asked | None:
        values: dict[str, Any] = {
            "sequence": self.next,
            "acknowledgement": (self.isn + 1) & 0xFFFF_FFFF,
            "window": 65_535,
            **more,
        }
        sent = Segment(source_port=port, destination_port=80, flags=flags, payload=payload, **values)
        return self.packet(encode_segment(sent, CLIENT, SERVICE))

    def ask(self, port: int = PORT, **more: Any) -> Connection:
        """Send a SYN, for which nothing may be answered yet."""
        asked = self.segment(SYN, port=port, **{"sequence": ISN, "acknowledgement": 0, "mss": 1000, **more})
        assert isinstance(asked, TcpAsked)
        assert self.sent() == []
        return asked.connection

    def connect(self, port: int = PORT, **more: Any) -> Connection:
        """Have a connection accepted and confirmed."""
        connection = self.ask(port, **more)
        connection.accept(self.now)
        answer = self.one()
        assert answer.flags == SYN | ACK
        assert answer.acknowledgement == (ISN + 1) & 0xFFFF_FFFF
        self.isn = answer.sequence
        assert self.segment(port=port, **({"window": more["window"]} if "window" in more else {})) is None
        assert self.sent() == []
        return connection

    def sent(self) -> list[Segment]:
        """What the stack sends, all of it TCP. Sequence and acknowledgement of data are told from the first ones."""
        return [decode_segment(packet) for packet in self.packets() if packet.protocol == TCP]

    def packets(self) -> list[IpPacket]:
        return [decode_packet(data) for data in self.stack.packets_to_send()]

    def one(self) -> Segment:
        (segment,) = self.sent()
        return segment

    def at(self, segment: Segment) -> int:
        """Where in the stack's data a segment begins."""
        return (segment.sequence - self.isn - 1) & 0xFFFF_FFFF

    def acknowledge(self, count: int, **more: Any) -> None:
        self.segment(acknowledgement=(self.isn + 1 + count) & 0xFFFF_FFFF, **more)

    def wait(self) -> float:
        """Let time go on until something is sent or over; return how long that took."""
        before, count = self.now, len(self.stack)
        while len(self.stack) == count and not self.stack._outgoing:
            due = self.stack.next_timer
            assert due is not None
            self.now = max(due, self.now)
            self.stack.on_timer(self.now)
        return self.now - before
