"""The stack of one client of an IP tunnel: its packets in, what it asks for out, and the answers as packets. Pure.

Whoever owns it decides about each connection, datagram and echo request, and sends `packets_to_send` after every call.
Seconds come from any clock that only goes forward.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

from pyconnector.transport.ip import icmp
from pyconnector.transport.ip.packets import ICMP, ICMPV6, TCP, UDP, PacketError, decode_packet
from pyconnector.transport.ip.tcp.connection import Connection
from pyconnector.transport.ip.tcp.pool import Pool
from pyconnector.transport.ip.tcp.segment import ACK, RST, SYN, Segment, decode_segment, encode_segment, unwrap
from pyconnector.transport.ip.tcp.values import FlowKey, Start, State
from pyconnector.transport.ip.udp import UdpDatagram, decode_udp, encode_udp
from pyconnector.web.http2.budget import Budget

if TYPE_CHECKING:
    from pyconnector.transport.ip.packets import IpPacket

#: TCP connections of one client, and those of them that are not confirmed yet.
MAX_CONNECTIONS, MAX_HALF_OPEN = 1_024, 128
#: Bytes that all of them may promise to take, and hold to send.
RECEIVE_POOL, SEND_POOL = 32 * 1024 * 1024, 32 * 1024 * 1024
#: Pairs of addresses that rest after their connection, and for how many seconds (2 MSL, as kernels have it).
MAX_RESTING, REST = 4_096, 60.0
#: Packets that wait to be sent; more are dropped, as by a full link.
MAX_OUTGOING: Final = 4_096
#: Errors and resets that are sent to a client: at once, and in a second.
ERRORS, ERRORS_A_SECOND = 200, 100.0


@dataclass(frozen=True, slots=True)
class TcpAsked:
    """A client wants a connection: `accept`, `refuse` or `IpStack.refuse_connection` it."""

    connection: Connection


Asked: TypeAlias = TcpAsked | UdpDatagram | icmp.EchoRequest


@dataclass(slots=True)
class _Held:
    connection: Connection
    opening: IpPacket
    "The packet of its SYN."
    timer: float | None = None
    pushed: int = 0
    "Which entry of the timers counts."


@dataclass(frozen=True, slots=True)
class _Resting:
    until: float
    client_next: int
    next: int


class IpStack:
    """One client's packets."""

    def __init__(self, *, mtu: int, secret: bytes, routers: dict[int, bytes]) -> None:
        """`mtu` of the tunnel in bytes; `secret` makes initial sequence numbers that nobody guesses (RFC 6528);
        `routers` are the packed addresses that errors come from, by IP version."""
        self.mtu = mtu
        self.segment_mtu = mtu
        """Bytes of the packets of new TCP connections, both ways: at most what travels best where larger ones travel
        worse."""
        self.sources: frozenset[bytes] = frozenset()
        "The packed addresses that the client may send from: those that it was assigned."
        self.dropped: Counter[str] = Counter()
        "Packets that were not served, by reason."
        self._secret = secret
        self._routers = routers
        self._connections: dict[FlowKey, _Held] = {}
        self._half_open: set[FlowKey] = set()
        self._resting: dict[FlowKey, _Resting] = {}
        self._timers: list[tuple[float, int, FlowKey]] = []
        self._pushed = 0
        self._now = 0.0
        self._outgoing: deque[bytes] = deque()
        self._errors = Budget(ERRORS, ERRORS_A_SECOND)
        self._receive_pool, self._send_pool = Pool(RECEIVE_POOL), Pool(SEND_POOL)

    def __repr__(self) -> str:
        return f"<IpStack connections={len(self._connections)} resting={len(self._resting)} mtu={self.mtu}>"

    def __len__(self) -> int:
        return len(self._connections)

    # -- packets -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Asked | None:
        """Take a packet of the client; return what it asks of the owner, if anything. Never raises."""
        self._now = now
        try:
            packet = decode_packet(data)
            if packet.source not in self.sources:
                raise PacketError("source", "a packet comes from an address that was not assigned")
            if icmp.is_multicast(packet.destination):
                raise PacketError("multicast", "a packet is for a group")
            if packet.hop_limit <= 1:
                self.tell(icmp.Error.TIME_EXCEEDED, packet, now)
                raise PacketError("hop_limit", "the hop limit of a packet is used up")
            return self._serve(packet, now)
        except PacketError as error:
            self.dropped[error.reason] += 1
            return None

    def packets_to_send(self) -> list[bytes]:
        """Return the packets for the client, in order. They count as sent."""
        packets = list(self._outgoing)
        self._outgoing.clear()
        return packets

    def send_udp(self, source: tuple[bytes, int], destination: tuple[bytes, int], payload: bytes) -> bool:
        """Send a datagram to the client; False where it is larger than the tunnel's packets, and dropped."""
        packet = encode_udp(*source, *destination, payload)
        if len(packet) > self.mtu:
            self.dropped["too_big"] += 1
            return False
        self._send(packet)
        return True

    def send_reply(self, request: icmp.EchoRequest, data: bytes) -> None:
        """Answer an echo request."""
        packet = icmp.encode_reply(request, data)
        if len(packet) > self.mtu:
            self.dropped["too_big"] += 1
        else:
            self._send(packet)

    def tell(
        self, error: icmp.Error, packet: IpPacket, now: float, *, mtu: int = 0, source: bytes | None = None
    ) -> None:
        """Tell the client why a packet of its own goes no further, unless it is told too much already. `source` is the
        packed address of who says so, this end where it is left out."""
        if icmp.may_be_told(packet) and self._errors.spend(now):
            self._send(icmp.encode_error(error, packet, source or self._routers[packet.version], mtu=mtu))

    def refuse_connection(self, connection: Connection, error: icmp.Error, now: float) -> None:
        """Refuse a connection that was not accepted, by an ICMP error in place of a reset."""
        held = self._connections.get(connection.key)
        if held is not None and held.connection is connection and connection.state is State.ASKED:
            self.tell(error, held.opening, now)
            connection.forget()

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def next_timer(self) -> float | None:
        """When `on_timer` is due."""
        return self._timers[0][0] if self._timers else None

    def on_timer(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        while self._timers and self._timers[0][0] <= now:
            _, number, key = heapq.heappop(self._timers)
            held = self._connections.get(key)
            if held is None or held.pushed != number:
                continue
            held.timer = None
            held.connection.on_timer(now)
            self._look_at(held.connection)

    def close(self) -> None:
        """Forget every connection; nothing is sent. Idempotent."""
        for held in tuple(self._connections.values()):
            held.connection.forget()
        self._connections.clear()
        self._half_open.clear()
        self._timers.clear()
        self._resting.clear()
        self._outgoing.clear()

    # -- inside --------------------------------------------------------------------------------------------------

    def _serve(self, packet: IpPacket, now: float) -> Asked | None:
        if packet.protocol == TCP:
            return self._serve_tcp(packet, decode_segment(packet), now)
        if packet.protocol == UDP:
            return decode_udp(packet)
        if packet.protocol == (ICMPV6 if packet.version == 6 else ICMP):
            return icmp.decode_echo(packet)
        self.tell(icmp.Error.PROTOCOL, packet, now)
        raise PacketError("protocol", f"a packet is of IP protocol {packet.protocol}")

    def _serve_tcp(self, packet: IpPacket, segment: Segment, now: float) -> TcpAsked | None:
        key = FlowKey(packet.source, segment.source_port, packet.destination, segment.destination_port)
        held = self._connections.get(key)
        if held is not None:
            held.connection.receive(segment, now)
            self._look_at(held.connection)
            return None
        resting = self._resting.get(key)
        if resting is not None and resting.until <= now:
            del self._resting[key]
            resting = None
        if segment.flags & (SYN | ACK | RST) == SYN:
            return self._ask(key, packet, segment, resting, now)
        if resting is not None:
            if segment.length:  # its FIN again, so our last acknowledgement was lost; resets are for nobody (RFC 1337)
                self._send_bare(key, resting.next, ACK, resting.client_next)
        elif not segment.flags & RST and self._errors.spend(now):
            if segment.flags & ACK:
                self._send_bare(key, segment.acknowledgement, RST, 0)
            else:
                self._send_bare(key, 0, RST | ACK, segment.sequence + segment.length)
        return None

    def _ask(
        self, key: FlowKey, packet: IpPacket, syn: Segment, resting: _Resting | None, now: float
    ) -> TcpAsked | None:  # fmt: skip
        if not key.source_port or not key.destination_port:
            raise PacketError("malformed", "a TCP segment has no port")
        if len(self._connections) >= MAX_CONNECTIONS:
            raise PacketError("connections", "the client has too many connections")
        if len(self._half_open) >= MAX_HALF_OPEN:
            raise PacketError("half_open", "the client has too many connections that are not confirmed")
        isn = self._initial_sequence(key, now)
        if resting is not None:
            if unwrap(syn.sequence, resting.client_next) <= resting.client_next:
                self._send_bare(key, resting.next, ACK, resting.client_next)
                return None
            del self._resting[key]
            isn = resting.next + 0x1_0000  # so that nothing old is taken for something new (RFC 1122 4.2.2.13)
        start = Start(
            now=now, isn=isn & 0xFFFF_FFFF, mss=min(self.mtu, self.segment_mtu) - (40 if packet.version == 4 else 60),
            receive_pool=self._receive_pool, send_pool=self._send_pool, after=self._look_at,
        )  # fmt: skip
        connection = Connection(key, syn, lambda segment: self._send_segment(key, segment), start)
        self._connections[key] = _Held(connection, packet)
        self._half_open.add(key)
        self._look_at(connection)
        return TcpAsked(connection)

    def _initial_sequence(self, key: FlowKey, now: float) -> int:
        ports = key.source_port.to_bytes(2, "big") + key.destination_port.to_bytes(2, "big")
        mixed = blake2b(key.source + key.destination + ports, key=self._secret, digest_size=4).digest()
        return (int.from_bytes(mixed, "big") + int(now * 250_000)) & 0xFFFF_FFFF

    def _look_at(self, connection: Connection) -> None:
        """Note what became of a connection."""
        held = self._connections.get(connection.key)
        if held is None or held.connection is not connection:
            return
        if not connection.is_half_open:
            self._half_open.discard(connection.key)
        if connection.state is State.CLOSED:
            del self._connections[connection.key]
            if connection.needs_time_wait:
                self._rest(connection)
            return
        due = connection.next_timer
        if due is not None and (held.timer is None or due < held.timer):
            self._pushed += 1
            held.timer, held.pushed = due, self._pushed
            heapq.heappush(self._timers, (due, self._pushed, connection.key))
            if len(self._timers) > 4 * len(self._connections) + 64:
                self._drop_stale_timers()

    def _rest(self, connection: Connection) -> None:
        while self._resting and (
            len(self._resting) >= MAX_RESTING or next(iter(self._resting.values())).until <= self._now
        ):
            del self._resting[next(iter(self._resting))]
        self._resting[connection.key] = _Resting(self._now + REST, *connection.sequences)

    def _drop_stale_timers(self) -> None:
        connections = self._connections
        self._timers = [
            entry for entry in self._timers if entry[2] in connections and connections[entry[2]].pushed == entry[1]
        ]
        heapq.heapify(self._timers)

    def _send_bare(self, key: FlowKey, sequence: int, flags: int, acknowledgement: int) -> None:
        segment = Segment(
            source_port=key.destination_port, destination_port=key.source_port, sequence=sequence, flags=flags,
            acknowledgement=acknowledgement,
        )  # fmt: skip
        self._send_segment(key, segment)

    def _send_segment(self, key: FlowKey, segment: Segment) -> None:
        self._send(encode_segment(segment, key.destination, key.source))

    def _send(self, packet: bytes) -> None:
        if len(self._outgoing) >= MAX_OUTGOING:
            self.dropped["outgoing"] += 1
        else:
            self._outgoing.append(packet)
