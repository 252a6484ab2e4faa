"""Private-network TCP: raw bytes to the IP address and port that the edge names (reference/wire.md 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.failures import quoted
from pyconnector.origins.net.dial import Dialer, DialSettings, Endpoint
from pyconnector.origins.tcp.tunnel import Tunnel, connect_tunnel
from pyconnector.web.host_port import split_ip_port

if TYPE_CHECKING:
    from pyconnector.origins.dns.virtual import VirtualDns


class PrivateSettings(Protocol):
    """What `warp-routing` sets. Seconds."""

    @property
    def connect_timeout(self) -> float:
        """Limit of a dial."""

    @property
    def tcp_keepalive(self) -> float:
        """Idle time before TCP probes."""


class PrivateTcpOrigin(Origin):
    """Connects to any address it is told to; how many at once is the connector's business."""

    def __init__(self, settings: PrivateSettings, virtual_dns: VirtualDns | None = None) -> None:
        """`virtual_dns` says where connections to the virtual DNS service go; without it that is an address like any
        other."""
        self._virtual_dns = virtual_dns
        self._dialer = Dialer(DialSettings(connect_timeout=settings.connect_timeout, keepalive=settings.tcp_keepalive))

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Connect to `request.destination` and carry bytes both ways, each direction to its own end.

        Cancel closes the connection.

        Raises:
            OriginError: the destination is no IP address with a port, or does not answer.
        """
        if request.kind is not RequestKind.TCP:
            raise OriginError("Only a TCP stream can be sent to an address")
        endpoint = address_of(request.destination)
        if self._virtual_dns is not None:
            host, port = self._virtual_dns.lead(endpoint.host, endpoint.port, "tcp")
            endpoint = Endpoint(host=host, port=port)
        sock = await self._dialer.open_socket(endpoint)
        tunnel = Tunnel(200, [])
        await connect_tunnel(tunnel, tunnel, sock)
        tunnel.carry(body)
        return tunnel


def address_of(destination: str) -> Endpoint:
    """Read `IP:port` or `[IPv6]:port`; names are not looked up here.

    Raises:
        OriginError: it is something else.
    """
    try:
        host, port = split_ip_port(destination)
    except ValueError as error:
        raise OriginError(f"{quoted(destination)!r} is no destination: an IP address and a port are needed") from error
    return Endpoint(host=host, port=port)
