"""One client of CONNECT-IP: its addresses and routes, its packets, and the flows that these are of."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final

from pyconnector.edge.connectors.exchange import PIECE
from pyconnector.edge.private.connect_ip.addresses import ROUTER, ROUTER_V6, Addresses, v6_of
from pyconnector.edge.private.connect_ip.ping_flow import PingFlow
from pyconnector.edge.private.connect_ip.reachable import ranges_for
from pyconnector.edge.private.connect_ip.tcp_flow import TcpFlow
from pyconnector.edge.private.connect_ip.udp_flow import UdpFlow
from pyconnector.edge.private.device_dns.dns import answer_query
from pyconnector.edge.private.device_dns.name_addresses import NameAddresses
from pyconnector.edge.private.gateway.judge import Refused
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import Unroutable
from pyconnector.identity.devices.addresses import NAME_RANGE
from pyconnector.protocol.capsules import DATAGRAM
from pyconnector.protocol.connect_ip import (
    ADDRESS_ASSIGN,
    ADDRESS_REQUEST,
    IpCapsuleReader,
    PrefixAddress,
    decode_addresses,
    encode_addresses,
    encode_routes,
    ip_packet,
    read_path,
)
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.handshake import Connect, Verdict
from pyconnector.protocol.proxying.proxy_request import CAPSULES, BadProxyRequest
from pyconnector.transport.errors import TransportError
from pyconnector.transport.ip.icmp import EchoRequest, Error
from pyconnector.transport.ip.stack import IpStack, TcpAsked

if TYPE_CHECKING:
    from pyconnector.edge.private.connect_ip.flow import IpFlow
    from pyconnector.edge.private.gateway.stream_flow import StreamFlow
    from pyconnector.protocol.connect_ip import IpRange, Scope
    from pyconnector.protocol.proxying.handshake import Extended
    from pyconnector.transport.ip.packets import IpPacket
    from pyconnector.transport.ip.stack import Asked
    from pyconnector.transport.ip.udp import UdpDatagram

#: Bytes of the packets of a tunnel (mesh.md 1): the least that IPv6 allows.
MTU: Final = 1_280
#: The shortest packets that TCP is kept to, so that they need no capsules.
LEAST_SEGMENT_MTU: Final = 600
#: UDP flows, and flows of pings, of one client at once.
MAX_UDP, MAX_PINGS = 256, 64
#: Capsules of one client that are taken in one turn of the loop.
CAPSULES_A_TURN: Final = 64
#: Seconds between looks at whether other routes lead somewhere, and at what the path carries.
LOOK_INTERVAL: Final = 5.0
DNS_PORT: Final = 53


class ConnectIp:
    """What extends CONNECT with IP, for all clients of a gateway."""

    def __init__(self) -> None:
        self._addresses = Addresses()

    def __repr__(self) -> str:
        return f"<ConnectIp {self._addresses!r}>"

    async def serve(self, flow: StreamFlow, wanted: Extended) -> None:
        """See `Extension`."""
        scope, record = read_path(wanted.path), flow.record
        record.virtual_network = wanted.virtual_network or record.virtual_network
        try:
            flow.owner.judge.network.network_id(record.virtual_network)
        except Unroutable as error:
            raise BadProxyRequest(str(error)) from error
        device = record.device
        address = device.address if device is not None else self._addresses.lend(record.actor)
        if address is None:
            raise Refused(Verdict.BUSY, CloseReason.TOO_MANY, "No address of the mesh is free.", "too_many_clients")
        try:
            flow.owner.judge.started(flow)
            await IpTunnel(flow, scope, address).run()
        finally:
            if device is None:
                self._addresses.give_back(address)


class IpTunnel:
    """From the answer to the end of the stream. Its flows are judged, recorded and revoked one by one."""

    def __init__(self, flow: StreamFlow, scope: Scope, address: IPv4Address) -> None:
        self.gateway = flow.owner
        self.record = flow.record
        self.stack = IpStack(
            mtu=MTU, secret=os.urandom(16), routers={4: ROUTER.packed, 6: ROUTER_V6.packed}
        )  # fmt: skip
        self._addresses = (address, v6_of(address))
        self.stack.sources = frozenset(each.packed for each in self._addresses)
        self._flow = flow
        self._stream = flow.stream
        self._scope = scope
        self._names = NameAddresses(NAME_RANGE)
        self._flows: set[IpFlow] = set()
        self._udp: dict[tuple[bytes, int, bytes, int], UdpFlow] = {}
        self._pings: dict[tuple[bytes, bytes, int], PingFlow] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self._closed = False
        self._told: tuple[IpRange, ...] | None = None

    def __repr__(self) -> str:
        return f"<IpTunnel {self._addresses[0]} flows={len(self._flows)} {self.stack!r}>"

    @property
    def now(self) -> float:
        """Seconds of the loop's clock, which the stack knows."""
        return self._loop.time()

    async def run(self) -> None:
        """Serve the client until its stream ends. Cancel ends all of its flows.

        Raises:
            ProtocolError: it is no capsules that come.
            TransportError: the client took the stream back, or is gone.
        """
        stream = self._stream
        stream.send_head([(b":status", b"200"), CAPSULES])
        self.record.silent = True  # its flows have records of their own
        self._assign([PrefixAddress(0, each, each.max_prefixlen) for each in self._addresses])
        advertising = self.gateway.tasks.start(self._advertise(), "edge connect-ip routes")
        stream.set_datagram_handler(self._datagram)
        try:
            await self._read()
            stream.finish()
        finally:
            stream.set_datagram_handler(None)
            advertising.cancel()
            self._close()

    async def _read(self) -> None:
        reader = IpCapsuleReader()
        taken = 0
        while data := await self._stream.receive(PIECE):
            reader.feed(data)
            while (capsule := reader.next()) is not None:
                kind, value = capsule
                if kind == DATAGRAM:
                    self._datagram(value)
                elif kind == ADDRESS_REQUEST:
                    self._answer(decode_addresses(kind, value))
                    await self._stream.drain()
                taken += 1
                if not taken % CAPSULES_A_TURN:
                    await self.gateway.turns.wait()

    # -- addresses and routes ------------------------------------------------------------------------------------

    def _assign(self, addresses: list[PrefixAddress]) -> None:
        self._stream.send_nowait(encode_addresses(ADDRESS_ASSIGN, addresses))

    def _answer(self, asked: tuple[PrefixAddress, ...]) -> None:
        """Say again which addresses it has, under the ids that it asked with; a second one of a version is a no."""
        answers = []
        left = {each.version: each for each in self._addresses}
        for request in asked:
            address = left.pop(request.address.version, None)
            given = address if address is not None else type(request.address)(0)
            answers.append(PrefixAddress(request.request_id, given, given.max_prefixlen))
        answers.extend(PrefixAddress(0, each, each.max_prefixlen) for each in left.values())
        self._assign(answers)

    async def _advertise(self) -> None:
        while True:
            ranges = ranges_for(self.gateway.judge, self.record, names=True)
            if ranges != self._told:
                self._told = ranges
                try:
                    await self._stream.send(encode_routes(ranges))
                except TransportError:
                    return
            await asyncio.sleep(LOOK_INTERVAL)
            self._look_at_path()

    # -- packets -------------------------------------------------------------------------------------------------

    def _datagram(self, datagram: bytes) -> None:
        try:
            packet = ip_packet(datagram)
        except ProtocolError:
            packet = None
        if packet is None:
            self.stack.dropped["context"] += 1
            return
        if self._closed:
            return
        if self.stack.segment_mtu == MTU:  # the client's SETTINGS may have come by now
            self._look_at_path()
        asked = self.stack.receive(packet, self.now)
        if asked is not None:
            self._serve(asked)
        self.wake()

    def wake(self) -> None:
        """Send what the stack has to send, once this turn of the loop is over."""
        if not self._flushing and not self._closed:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        for packet in self.stack.packets_to_send():
            if not self._flow.send_payload(packet):
                self.stack.dropped["no_room"] += 1
        if self._timer is not None:
            self._timer.cancel()
        due = self.stack.next_timer
        self._timer = None if due is None else self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self.stack.on_timer(self.now)
        self._flush()

    # -- flows ---------------------------------------------------------------------------------------------------

    def _serve(self, asked: Asked) -> None:
        if isinstance(asked, TcpAsked):
            key = asked.connection.key
            request = self._request(key.destination, key.destination_port, 6)
            if request is None:
                self.stack.refuse_connection(asked.connection, Error.PROHIBITED, self.now)
            else:
                self._start(TcpFlow(self, asked.connection, request))
        elif isinstance(asked, EchoRequest):
            self._serve_ping(asked)
        else:
            self._serve_udp(asked)

    def _look_at_path(self) -> None:
        """Let segments be no longer than what travels in a datagram: a capsule holds up what comes behind it."""
        fits = self._stream.largest_datagram - 1
        self.stack.segment_mtu = fits if fits >= LEAST_SEGMENT_MTU else MTU

    def _serve_udp(self, asked: UdpDatagram) -> None:
        packet = asked.packet
        if asked.destination_port == DNS_PORT and packet.destination in {ROUTER.packed, ROUTER_V6.packed}:
            self._answer_names(asked)
            return
        key = (packet.source, asked.source_port, packet.destination, asked.destination_port)
        flow = self._udp.get(key)
        if flow is not None:
            flow.take(asked)
            return
        request = self._admitted(packet, asked.destination_port, 17, len(self._udp) < MAX_UDP)
        if request is not None:
            flow = self._udp[key] = UdpFlow(self, asked, request)
            self._start(flow).add_done_callback(lambda _: self._udp.pop(key, None))

    def _serve_ping(self, asked: EchoRequest) -> None:
        packet = asked.packet
        if packet.destination in {ROUTER.packed, ROUTER_V6.packed}:
            self.stack.send_reply(asked, asked.data)
            return
        key = (packet.source, packet.destination, asked.identifier)
        flow = self._pings.get(key)
        if flow is not None:
            flow.take(asked)
            return
        request = self._admitted(packet, 0, 1, len(self._pings) < MAX_PINGS)
        if request is not None:
            flow = self._pings[key] = PingFlow(self, asked, request)
            self._start(flow).add_done_callback(lambda _: self._pings.pop(key, None))

    def _admitted(self, packet: IpPacket, port: int, protocol: int, has_room: bool) -> Connect | None:
        """What a packet asks for; None where it is beyond what this client may ask, which is told."""
        if not has_room:
            self.stack.dropped["flows"] += 1
            return None
        request = self._request(packet.destination, port, protocol)
        if request is None:
            self.stack.tell(Error.PROHIBITED, packet, self.now)
        return request

    def _request(self, destination: bytes, port: int, protocol: int) -> Connect | None:
        address = ip_address(destination)
        if not self._scope.holds(address, protocol):
            self.stack.dropped["scope"] += 1
            return None
        host = str(address)
        if isinstance(address, IPv4Address) and address in NAME_RANGE:
            host = self._names.name_of(address, self.now) or host
        return Connect(host, port, self.record.virtual_network)

    def _answer_names(self, asked: UdpDatagram) -> None:
        answer = answer_query(asked.payload, self._is_private, lambda name: self._names.address_of(name, self.now))
        if answer is not None:
            packet = asked.packet
            self.stack.send_udp(
                (packet.destination, asked.destination_port), (packet.source, asked.source_port), answer
            )

    def _is_private(self, name: str) -> bool:
        network, record = self.gateway.judge.network, self.record
        if network.network_id(record.virtual_network) != network.routes.default_network:
            return False  # as `PrivateNetwork.find` has it: names are of the default one
        return network.routes.for_hostname(name) is not None

    def _start(self, flow: TcpFlow | UdpFlow | PingFlow) -> asyncio.Task[None]:
        self._flows.add(flow)
        flow.task = self.gateway.tasks.start(flow.run(), "edge connect-ip flow")
        flow.task.add_done_callback(lambda _: self._flows.discard(flow))
        return flow.task

    def _close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for flow in tuple(self._flows):
            flow.cut_off(CloseReason.CLIENT_CLOSED, "the tunnel ended")
        self.stack.close()
