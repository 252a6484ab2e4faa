"""Which tunnel serves a private address or name, and how it is reached (reference/wire.md 9, mesh.md 6).

A destination is looked up in one virtual network, by longest prefix; a private name is resolved by the connector that
serves it, and reached through the same tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias

from pyconnector.edge.connectors.exchange import Broken, NoTunnel, Refused, TunnelRequest, open_exchange
from pyconnector.edge.directory.routes import PrivateRoutes
from pyconnector.edge.directory.values import HostnameRouteEntry, IpRouteEntry, VirtualNetworkEntry
from pyconnector.edge.private.datagrams.link import OpenFailed
from pyconnector.edge.private.names import NameNotFound, NameQueries
from pyconnector.edge.private.ping import NoReply, Pings, Pong
from pyconnector.edge.private.udp import PrivateUdp, link_of
from pyconnector.edge.settings import host_port_text, is_hostname
from pyconnector.edge.tasks import TaskSet
from pyconnector.protocol.streams.connect import ConnectionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels
    from pyconnector.edge.settings import PrivateHostname, PrivateRoute

Address: TypeAlias = IPv4Address | IPv6Address
#: The virtual network that is meant where none is named.
DEFAULT_NETWORK: Final = "default"


class Unroutable(Exception):
    """No route leads to a destination. The text is one sentence."""


class Unreachable(Exception):
    """A route leads there, but nobody could be reached. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a flow goes, once that is known."""

    tunnel: Tunnel
    address: Address
    port: int
    name: str = ""
    "The private name that was resolved, if it was one."
    virtual_network: str = ""
    "The id of the virtual network."
    network: str = ""
    "The route that leads there, as a network or a name."


class PrivateNetwork:
    """Finds and opens flows. What a client may do is not asked here."""

    def __init__(self, tunnels: Tunnels, routes: PrivateRoutes) -> None:
        self._tunnels = tunnels
        self.routes = routes
        self.tasks = TaskSet()
        self._names = NameQueries(self._dns_flow)
        self._pings = Pings()

    def __repr__(self) -> str:
        return f"<PrivateNetwork routes={len(self.routes)}>"

    async def close(self) -> None:
        """End what is under way. Cancel leaves tasks cancelled but not waited for. Idempotent."""
        await self.tasks.cancel_all()

    async def find(self, host: str, port: int, virtual_network: str = "") -> Destination:
        """Return where `host`, an address or a private name, is in a virtual network (by name; "" for the default).

        Cancel at any time.

        Raises:
            Unroutable: there is no such virtual network, no route, or no such name.
        """
        network_id = self.network_id(virtual_network)
        address: Address | None
        try:
            address = ip_address(host)
        except ValueError:
            return await self._find_name(host.lower().removesuffix("."), port, network_id)
        address = _plain(address)
        if address is None:
            raise Unroutable(f"{host[:255]!r} has a zone, which means something on one machine alone.")
        found = self.routes.route_for(address, network_id)
        tunnel = self._tunnels.get(found.tunnel_id) if found is not None else None
        if found is None or tunnel is None:
            raise Unroutable(f"No route leads to {address}.")
        return Destination(
            tunnel=tunnel, address=address, port=port, virtual_network=network_id or "", network=str(found.network)
        )

    def network_name(self, destination: Destination) -> str:
        """Return the name of the virtual network that a destination is in."""
        return self.routes.network_name(destination.virtual_network)

    def still_leads(self, destination: Destination) -> bool:
        """Return whether a route still leads to a destination, and to the same tunnel."""
        if destination.name:
            tunnel_id = self.routes.for_hostname(destination.name)
        else:
            tunnel_id = self.routes.for_address(destination.address, destination.virtual_network)
        return tunnel_id == destination.tunnel.tunnel_id and self._tunnels.get(tunnel_id) is destination.tunnel

    async def open_tcp(self, destination: Destination) -> Exchange:
        """Return a stream to a destination, connected. Cancel leaves nothing open.

        Raises:
            Unreachable: no connector of the tunnel is there, or it could not connect.
        """
        request = TunnelRequest(
            kind=ConnectionType.TCP, destination=host_port_text((str(destination.address), destination.port))
        )
        try:
            exchange = await open_exchange(destination.tunnel, request)
        except NoTunnel:
            raise Unreachable("No connector of the tunnel is connected.") from None
        except Broken as exc:
            raise Unreachable(str(exc)) from exc
        try:
            await exchange.response()
        except (Refused, Broken) as exc:
            exchange.abort()
            raise Unreachable(str(exc)) from exc
        except BaseException:
            exchange.abort()
            raise
        return exchange

    async def open_udp(
        self,
        destination: Destination,
        *,
        on_data: Callable[[bytes], None],
        on_end: Callable[[str], None],
        first: bytes = b"",
    ) -> PrivateUdp:
        """Return a UDP flow to a destination. Cancel leaves nothing open.

        Raises:
            Unreachable: no connector took it.
        """
        flow = PrivateUdp(
            destination.tunnel, destination.address, destination.port, tasks=self.tasks, on_data=on_data, on_end=on_end
        )
        try:
            await flow.open(first)
        except OpenFailed as exc:
            raise Unreachable(str(exc)) from exc
        return flow

    async def ping(self, destination: Destination, *, data: bytes = b"", ttl: int = 64) -> Pong:
        """Send an echo request and return what comes back. Cancel at any time.

        Raises:
            Unreachable: nobody answered, or no connector of the tunnel carries ICMP.
        """
        link = next((link for each in destination.tunnel.members if (link := link_of(each)) is not None), None)
        if link is None:
            raise Unreachable("No connector of the tunnel that carries ICMP is connected.")
        try:
            return await self._pings.ping(link, destination.address, data=data, ttl=ttl)
        except NoReply as exc:
            raise Unreachable(str(exc)) from exc

    def network_id(self, name: str) -> str | None:
        """Return the id of a virtual network by its name, "" for the default one; None where there is no default.

        Raises:
            Unroutable: there is none of that name.
        """
        if not name:
            return self.routes.default_network
        network_id = self.routes.virtual_network(name)
        if network_id is None:
            raise Unroutable(f"There is no virtual network {name[:100]!r}.")
        return network_id

    async def _find_name(self, name: str, port: int, network_id: str | None) -> Destination:
        if not is_hostname(name) or name.startswith("*"):
            raise Unroutable(f"{name[:255]!r} is neither an address nor a name.")
        # Names are of the default virtual network: their routes name none (api.md 6).
        tunnel_id = self.routes.for_hostname(name) if network_id == self.routes.default_network else None
        tunnel = self._tunnels.get(tunnel_id) if tunnel_id is not None else None
        if tunnel is None:
            raise Unroutable(f"No route leads to {name}.")
        try:
            address = _plain(await self._names.resolve(tunnel, name))
        except NameNotFound as exc:
            raise Unroutable(str(exc)) from exc
        assert address is not None  # an answer of DNS has no zone
        return Destination(
            tunnel=tunnel, address=address, port=port, name=name, virtual_network=network_id or "", network=name
        )

    def _dns_flow(
        self, tunnel: Tunnel, address: IPv6Address, port: int, on_data: Callable[[bytes], None]
    ) -> PrivateUdp:
        return PrivateUdp(tunnel, address, port, tasks=self.tasks, on_data=on_data, on_end=lambda reason: None)


def _plain(address: Address) -> Address | None:
    """Return an IPv4 address for one that is mapped into IPv6; None where it has a zone."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


def routes_of(routes: Iterable[PrivateRoute], hostnames: Iterable[PrivateHostname]) -> PrivateRoutes:
    """Return the table of an edge without a control plane."""
    table = PrivateRoutes()
    table.put_network(VirtualNetworkEntry(id=DEFAULT_NETWORK, name=DEFAULT_NETWORK, is_default=True))
    for number, route in enumerate(routes):
        name = route.virtual_network
        if name != DEFAULT_NETWORK:
            table.put_network(VirtualNetworkEntry(id=name, name=name, is_default=False))
        table.put_route(
            IpRouteEntry(id=str(number), network=route.network, tunnel_id=route.tunnel_id, virtual_network_id=name)
        )
    for number, entry in enumerate(hostnames):
        table.put_name(HostnameRouteEntry(id=str(number), hostname=entry.hostname, tunnel_id=entry.tunnel_id))
    return table
