"""The Directory: everything that a control plane told this edge, kept so that no request ever waits for a question.

Synchronous, without I/O: `edge.directory.follower` fills it; registrations, visitors and private clients ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from pyconnector.edge.access.entries import ACCESS_KINDS
from pyconnector.edge.access.state import AccessState
from pyconnector.edge.audit.jobs import LogpushJobs
from pyconnector.edge.connectors.connection import EdgeConnection
from pyconnector.edge.directory.routes import PrivateRoutes
from pyconnector.edge.directory.values import (
    CLEANUP,
    KINDS,
    ChangeEntry,
    Entry,
    HostnameRouteEntry,
    IpRouteEntry,
    JobEntry,
    NameEntry,
    TunnelEntry,
    VirtualNetworkEntry,
    parse_entry,
)
from pyconnector.edge.settings import TunnelSettings
from pyconnector.identity.management_token import ManagementKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels

#: Objects of a snapshot that are taken over in one turn of the event loop.
OBJECTS_AT_ONCE = 500


class Directory:
    """What the edge knows, as of one change of the control plane."""

    def __init__(
        self,
        tunnels: Tunnels,
        push: Callable[[Tunnel], None],
        members_changed: Callable[[], None],
        access: AccessState | None = None,
        jobs: LogpushJobs | None = None,
    ) -> None:
        self.number = -1
        "The last change that is in here; -1 before the first snapshot."
        self.routes = PrivateRoutes()
        self.access = access or AccessState()
        self.jobs = jobs or LogpushJobs()
        self.objects: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        "All objects as they came, for the cached snapshot."
        self._tunnels = tunnels
        self._push = push
        self._members_changed = members_changed

    def __repr__(self) -> str:
        counts = " ".join(f"{kind}s={len(objects)}" for kind, objects in self.objects.items())
        return f"<Directory number={self.number} {counts}>"

    def take_snapshot(self, number: int, objects: dict[str, dict[str, Any]]) -> None:
        """Be as a snapshot says: what is not in it goes, what is the same stays untouched.

        Raises:
            DirectoryError: an object is none; nothing is changed then.
        """
        for _ in self.snapshot_steps(number, objects):
            pass

    def snapshot_steps(self, number: int, objects: dict[str, dict[str, Any]]) -> Iterator[None]:
        """Take a snapshot over, pausing after every so many objects so that requests get their turn.

        Raises:
            DirectoryError: an object is none; nothing is changed then.
        """
        parsed: list[tuple[str, str, Entry]] = []
        for kind in KINDS:
            present = self.objects[kind]
            for count, (key, value) in enumerate(objects[kind].items(), 1):
                if key not in present or present[key] != value:
                    parsed.append((kind, key, parse_entry(kind, key, value)))
                if not count % OBJECTS_AT_ONCE:
                    yield
        yield from self._drop_missing((kind for kind in reversed(KINDS) if kind not in ACCESS_KINDS), objects)
        for count, (kind, key, entry) in enumerate(parsed, 1):
            self.objects[kind][key] = objects[kind][key]
            self._put(kind, entry)
            if not count % OBJECTS_AT_ONCE:
                yield
        # Last: what guarded a name is gone only once that which guards it now is there.
        yield from self._drop_missing(reversed(ACCESS_KINDS), objects)
        self.number = number

    def take_changes(self, changes: Iterable[ChangeEntry]) -> None:
        """Take changes over, in their order. Kinds that are not known are of a later version: passed over.

        Raises:
            DirectoryError: an object is none; the changes before it are in force.
        """
        for change in changes:
            if change.kind == CLEANUP:
                self._clean_up(change)
            elif change.kind in self.objects:
                if change.value is None:
                    self._drop(change.kind, change.id)
                else:
                    entry = parse_entry(change.kind, change.id, change.value)
                    self.objects[change.kind][change.id] = change.value
                    self._put(change.kind, entry)
            self.number = change.number

    def _drop_missing(self, kinds: Iterable[str], objects: dict[str, dict[str, Any]]) -> Iterator[None]:
        for kind in kinds:
            for count, key in enumerate([key for key in self.objects[kind] if key not in objects[kind]], 1):
                self._drop(kind, key)
                if not count % OBJECTS_AT_ONCE:
                    yield

    def _put(self, kind: str, entry: Entry) -> None:
        match entry:
            case ManagementKey():
                self._tunnels.management.key = entry
            case TunnelEntry():
                self._put_tunnel(entry)
            case NameEntry():
                self._tunnels.route_name(entry.hostname, entry.tunnel_id)
            case VirtualNetworkEntry():
                self.routes.put_network(entry)
            case IpRouteEntry():
                self.routes.put_route(entry)
            case HostnameRouteEntry():
                self.routes.put_name(entry)
            case JobEntry():
                self.jobs.put(entry.id, entry.value)
            case _:
                self.access.put(kind, entry)

    def _put_tunnel(self, entry: TunnelEntry) -> None:
        settings = TunnelSettings(
            account_tag=entry.account_tag, tunnel_id=entry.tunnel_id, secret_sha256=entry.secret_sha256,
            configuration=entry.configuration, configuration_version=entry.configuration_version, named_only=True,
        )  # fmt: skip
        tunnel = self._tunnels.get(entry.tunnel_id)
        if tunnel is None:
            tunnel = self._tunnels.put(settings)
            tunnel.members_changed = self._members_changed
        elif tunnel.named_only and tunnel.take(settings):
            self._push(tunnel)

    def _drop(self, kind: str, key: str) -> None:
        if self.objects[kind].pop(key, None) is None:
            return
        match kind:
            case "management_key":
                self._tunnels.management.key = None
            case "tunnel":
                tunnel = self._tunnels.remove(UUID(key))
                if tunnel is not None:
                    _close(tunnel, None, "the tunnel was deleted")
            case "name":
                self._tunnels.route_name(key, None)
            case "virtual_network":
                self.routes.drop_network(key)
            case "ip_route":
                self.routes.drop_route(key)
            case "hostname_route":
                self.routes.drop_name(key)
            case "logpush_job":
                self.jobs.drop(key)
            case _:
                self.access.drop(kind, key)

    def _clean_up(self, change: ChangeEntry) -> None:
        try:
            tunnel = self._tunnels.get(UUID(change.id))
            client = (change.value or {}).get("client_id")
            client_id = None if client is None else UUID(client)
        except (ValueError, TypeError, AttributeError):
            return  # of a later version; there is nothing to keep
        if tunnel is not None and tunnel.named_only:
            _close(tunnel, client_id, "the connections of the tunnel were cleaned up")


def _close(tunnel: Tunnel, client_id: UUID | None, reason: str) -> None:
    for member in tuple(tunnel.members):
        if isinstance(member, EdgeConnection) and client_id in (None, member.registration.client_id):
            member.close(reason)
