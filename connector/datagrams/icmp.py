"""ICMP echo between the edge and private addresses (wire.md 13): flows by source, destination and identifier.

A flow has a socket of its own; its replies go to whichever connection asked last.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.connector.observe.log import Log
from pyconnector.origins.icmp.echo_socket import EchoRefused, EchoSocket, own_address, try_families
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.icmp import Address, Echo, decode_echo, time_exceeded

if TYPE_CHECKING:
    from pyconnector.connector.observe.datagram_counters import DatagramCounters

#: Seconds without a request after which a flow ends.
IDLE_SECONDS: Final = 10.0
#: Flows at once; what comes beyond is dropped.
MAX_FLOWS: Final = 1_024
_REASON_FULL, _REASON_FAILED = "write_full", "write_failed"


class PacketLink(Protocol):
    """The connection that carries IP packets to the edge."""

    index: int

    def send_packet(self, packet: bytes) -> bool:
        """Send an IP packet; False where it was dropped."""


class _Flow:
    """The echo requests of one sender to one address, with one identifier."""

    __slots__ = ("last", "link", "request", "router", "socket")

    def __init__(self, router: IcmpRouter, link: PacketLink, request: Echo) -> None:
        self.router = router
        self.link = link
        self.request = request
        self.last = 0.0
        self.socket = EchoSocket.open(
            request.destination, self._replied, source=router.bound(request.destination.version)
        )

    def _replied(self, sequence: int, data: bytes) -> None:
        request = self.request
        reply = Echo(
            source=request.destination, destination=request.source, is_reply=True, identifier=request.identifier,
            sequence=sequence, data=data,
        )  # fmt: skip
        self.router.replied(self.link, reply)


class IcmpRouter:
    """The ICMP of one connector, whichever connections it is on."""

    def __init__(self, counters: DatagramCounters, sources: tuple[Address | None, Address | None]) -> None:
        """`sources` are the addresses that IPv4 and IPv6 requests leave from, where they are given."""
        self._counters = counters
        self._sources = sources
        self._own: dict[int, Address] = {}
        self._flows: dict[tuple[Address, Address, int], _Flow] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._log = Log("icmp")
        v4, v6, why = try_families(sources)
        self.usable = {4: v4, 6: v6}
        if not v4 and not v6:
            self._log.warning("ICMP of the private network is not carried: %s", why)
        elif not v4:
            self._log.warning("ICMP of the private network is carried over IPv6 only: %s", why)

    def __repr__(self) -> str:
        return f"<IcmpRouter flows={len(self._flows)} usable={self.usable}>"

    def bound(self, version: int) -> Address | None:
        """Return the address that requests of a family leave from, where one is given."""
        return self._sources[0 if version == 4 else 1]

    def receive(self, link: PacketLink, packet: bytes) -> None:
        """Take an IP packet of the edge. Never raises."""
        try:
            echo = decode_echo(packet)
            if echo.ttl <= 1:
                self._send(link, time_exceeded(packet, self._own_address(echo.source.version)))
                return
        except ProtocolError as error:
            self._log.debug("Dropped an IP packet: %s", error)
            self._counters.icmp_dropped[link.index, "malformed"] += 1
            return
        if echo.is_reply or not self.usable[echo.source.version]:
            self._counters.icmp_dropped[link.index, "unsupported"] += 1
            return
        flow = self._flow(link, echo)
        if flow is None:
            return
        flow.link = link
        flow.last = self._loop.time()
        self._counters.icmp_requests += 1
        if not flow.socket.send(echo.sequence, echo.data):
            self._counters.icmp_dropped[link.index, _REASON_FAILED] += 1

    def replied(self, link: PacketLink, reply: Echo) -> None:
        """Send a reply to the edge."""
        self._counters.icmp_replies += 1
        self._send(link, reply.encode())

    def forget(self, link: PacketLink) -> None:
        """End the flows of a connection that is gone."""
        for key, flow in tuple(self._flows.items()):
            if flow.link is link:
                del self._flows[key]
                flow.socket.close()

    def _send(self, link: PacketLink, packet: bytes) -> None:
        if not link.send_packet(packet):
            self._counters.icmp_dropped[link.index, _REASON_FULL] += 1

    def _flow(self, link: PacketLink, echo: Echo) -> _Flow | None:
        key = (echo.source, echo.destination, echo.identifier)
        flow = self._flows.get(key)
        if flow is not None:
            return flow
        if len(self._flows) >= MAX_FLOWS:
            self._counters.icmp_dropped[link.index, _REASON_FULL] += 1
            return None
        try:
            flow = self._flows[key] = _Flow(self, link, echo)
        except EchoRefused as error:
            self._log.debug("%s", error)
            self._counters.icmp_dropped[link.index, _REASON_FAILED] += 1
            return None
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(IDLE_SECONDS, self._sweep)
        return flow

    def _sweep(self) -> None:
        """End the flows that are idle."""
        oldest = self._loop.time() - IDLE_SECONDS
        for key, flow in tuple(self._flows.items()):
            if flow.last <= oldest:
                del self._flows[key]
                flow.socket.close()
        self._sweeping = self._loop.call_later(IDLE_SECONDS, self._sweep) if self._flows else None

    def _own_address(self, version: int) -> Address:
        given = self.bound(version)
        if given is not None:
            return given
        if version not in self._own:
            self._own[version] = own_address(version)
        return self._own[version]
