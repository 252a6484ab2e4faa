"""Private destinations: which tunnel serves an address or a name. Looked up in memory, by longest prefix. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pyconnector.edge.directory.values import HostnameRouteEntry, IpRouteEntry, VirtualNetworkEntry

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrivateRoutes:
    """Networks and names that tunnels serve, by virtual network."""

    def __init__(self) -> None:
        self._routes: dict[str, IpRouteEntry] = {}
        # By virtual network, IP version and prefix length: one look-up for each length in use, at most 33 or 129.
        self._tables: dict[tuple[str, int], dict[int, dict[int, IpRouteEntry]]] = {}
        self._names: dict[str, HostnameRouteEntry] = {}
        self._by_name: dict[str, HostnameRouteEntry] = {}
        self._networks: dict[str, VirtualNetworkEntry] = {}
        self.default_network: str | None = None
        self.on_change: Callable[[], None] = lambda: None
        "Called after each change."

    def __len__(self) -> int:
        return len(self._routes) + len(self._names)

    def for_address(self, address: Address, virtual_network_id: str | None = None) -> UUID | None:
        """Return the tunnel that serves an address of a virtual network, or of the default one."""
        route = self.route_for(address, virtual_network_id)
        return None if route is None else route.tunnel_id

    def route_for(self, address: Address, virtual_network_id: str | None = None) -> IpRouteEntry | None:
        """Return the route of the longest prefix that holds an address, in a virtual network or the default one."""
        network = virtual_network_id or self.default_network
        table = self._tables.get((network, address.version)) if network is not None else None
        if not table:
            return None
        value, bits = int(address), address.max_prefixlen
        for prefix in sorted(table, reverse=True):
            route = table[prefix].get(value >> (bits - prefix))
            if route is not None:
                return route
        return None

    def networks(self, virtual_network_id: str | None) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Return the networks that routes of a virtual network lead to."""
        return [entry.network for entry in self._routes.values() if entry.virtual_network_id == virtual_network_id]

    def for_hostname(self, hostname: str) -> UUID | None:
        """Return the tunnel that serves a lower-case private name: by itself, or by the nearest `*.` above it."""
        route = self._by_name.get(hostname)
        suffix = hostname
        while route is None and suffix:
            suffix = suffix.partition(".")[2]
            route = self._by_name.get("*." + suffix)
        return None if route is None else route.tunnel_id

    def virtual_network(self, name: str) -> str | None:
        """Return the id of the virtual network of a name."""
        return next((entry.id for entry in self._networks.values() if entry.name == name), None)

    def network_name(self, network_id: str) -> str:
        """Return the name of a virtual network, or its id where it has none here."""
        entry = self._networks.get(network_id)
        return network_id if entry is None else entry.name

    def put_route(self, entry: IpRouteEntry) -> None:
        """Let a route be as it is now."""
        self.drop_route(entry.id)
        self._routes[entry.id] = entry
        table = self._tables.setdefault((entry.virtual_network_id, entry.network.version), {})
        table.setdefault(entry.network.prefixlen, {})[_key(entry)] = entry
        self.on_change()

    def drop_route(self, route_id: str) -> None:
        """Forget a route. Idempotent."""
        entry = self._routes.pop(route_id, None)
        if entry is None:
            return
        place = (entry.virtual_network_id, entry.network.version)
        table = self._tables[place]
        held = table[entry.network.prefixlen]
        if held.get(_key(entry)) is entry:
            del held[_key(entry)]
        if not held:
            del table[entry.network.prefixlen]
        self.on_change()

    def put_name(self, entry: HostnameRouteEntry) -> None:
        """Let a name's route be as it is now."""
        self.drop_name(entry.id)
        self._names[entry.id] = entry
        self._by_name[entry.hostname] = entry
        self.on_change()

    def drop_name(self, route_id: str) -> None:
        """Forget a name's route. Idempotent."""
        entry = self._names.pop(route_id, None)
        if entry is not None and self._by_name.get(entry.hostname) is entry:
            del self._by_name[entry.hostname]
        self.on_change()

    def put_network(self, entry: VirtualNetworkEntry) -> None:
        """Let a virtual network be as it is now."""
        self._networks[entry.id] = entry
        self._find_default()

    def drop_network(self, network_id: str) -> None:
        """Forget a virtual network. Idempotent."""
        self._networks.pop(network_id, None)
        self._find_default()

    def _find_default(self) -> None:
        self.default_network = next((entry.id for entry in self._networks.values() if entry.is_default), None)


def _key(entry: IpRouteEntry) -> int:
    return int(entry.network.network_address) >> (entry.network.max_prefixlen - entry.network.prefixlen)
