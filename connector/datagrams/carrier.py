"""The datagrams of one connector: which version is spoken, and what serves each connection (wire.md 5.3).

The version of a connection follows from the features that it registered with; there is no other negotiation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.connector.datagrams.shared import SharedFlows
from pyconnector.connector.datagrams.v2 import DatagramsV2
from pyconnector.connector.datagrams.v3 import DatagramsV3, SessionsV3
from pyconnector.connector.observe.log import UDP, Log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address
    from typing import TypeAlias

    from pyconnector.connector.datagrams.icmp import IcmpRouter
    from pyconnector.connector.observe.datagram_counters import DatagramCounters
    from pyconnector.connector.requests.flow_limiter import FlowLimiter
    from pyconnector.origins.dns.virtual import VirtualDns
    from pyconnector.protocol.rpc.edge_rpc import UdpSessionEnded, UdpSessionRequested
    from pyconnector.transport.seam import Connection

    Address: TypeAlias = IPv4Address | IPv6Address

#: The feature of those that speak version 3.
DATAGRAM_V3: Final = "support_datagram_v3_2"


class DatagramLink(Protocol):
    """What serves the datagrams of one connection."""

    def receive(self, data: bytes) -> None:
        """Take one datagram of the edge. Never raises."""

    def register(self, request: UdpSessionRequested) -> str:
        """Make a session that the edge asked for over RPC and return "", or say why not."""

    def unregister(self, request: UdpSessionEnded) -> str:
        """End such a session and return "", or say why that cannot be."""

    def close(self) -> None:
        """End the sessions of the connection, which is gone. Idempotent."""


class DatagramCarrier:
    """Serves the datagrams of every connection of one connector."""

    def __init__(
        self,
        *,
        limiter: FlowLimiter,
        counters: DatagramCounters,
        rpc_timeout: float,
        virtual_dns: VirtualDns | None = None,
        icmp_sources: tuple[Address | None, Address | None] = (None, None),
    ) -> None:
        self._shared = SharedFlows(limiter, counters, virtual_dns=virtual_dns)
        self._icmp_sources = icmp_sources
        self._icmp: IcmpRouter | None = None
        self._sessions = SessionsV3(self._shared)
        self._rpc_timeout = rpc_timeout

    def __repr__(self) -> str:
        return f"<DatagramCarrier {self._shared!r}>"

    def attach(self, index: int, connection: Connection, features: Sequence[str]) -> DatagramLink:
        """Return what serves the datagrams of a connection that registered with `features`, to be closed with it."""
        log = Log("datagrams", {"connIndex": index}, kind=UDP)
        if DATAGRAM_V3 in features:
            return DatagramsV3(index, connection, self._sessions, icmp=self._router, log=log)
        return DatagramsV2(index, connection, self._shared, icmp=self._router, rpc_timeout=self._rpc_timeout, log=log)

    def _router(self) -> IcmpRouter:
        """What carries ICMP, made when the edge sends the first packet of it."""
        if self._icmp is None:
            from pyconnector.connector.datagrams.icmp import IcmpRouter

            self._icmp = IcmpRouter(self._shared.counters, self._icmp_sources)
        return self._icmp
