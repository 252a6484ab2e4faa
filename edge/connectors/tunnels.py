"""The tunnels an edge knows, who may register for them, and which connection gets the next request.

Synchronous bookkeeping without I/O: `edge.connectors.connection` registers here, visitors look up and pick here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pyconnector.edge.connectors.hostnames import Hostnames
from pyconnector.edge.connectors.management import Management
from pyconnector.edge.settings import TunnelSettings, is_hostname
from pyconnector.identity.management_token import HOSTNAMES
from pyconnector.protocol.rpc.registration import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.connectors.management import OneConnector
    from pyconnector.edge.connectors.unknown import UnknownTunnels
    from pyconnector.protocol.rpc.registration import Registration

#: Connections of one tunnel: four each of 25 connectors, as on the real edge.
MAX_CONNECTIONS_PER_TUNNEL = 100
#: Tunnels an edge that accepts any credentials makes by itself.
MAX_OPEN_TUNNELS = 1000
#: Hostnames taken from one connector's configuration.
MAX_LEARNED_HOSTNAMES = 1000

# Causes as the real edge words them: the reference looks for "Unauthorized" and for exactly "EDUPCONN".
NOT_FOUND = Refusal(cause="Unauthorized: Tunnel not found", retry_after=0.0, should_retry=False)
NOT_KNOWN_YET = Refusal(
    cause="The edge may not know this tunnel yet: its control plane is away", retry_after=2.0, should_retry=True
)
NOT_TOLD_YET = Refusal(cause="The edge does not know this tunnel yet", retry_after=1.0, should_retry=True)
WRONG_SECRET = Refusal(cause="Unauthorized: Invalid tunnel secret", retry_after=0.0, should_retry=False)
DUPLICATE = Refusal(cause="EDUPCONN", retry_after=0.0, should_retry=True)
TOO_MANY = Refusal(cause="The tunnel has too many connections", retry_after=30.0, should_retry=True)


class Member(Protocol):
    """A registered connection, as far as choosing one needs to know."""

    in_flight: int
    "Requests that it carries now."

    async def open(self, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """Send a request to it, with the beginning of its body. Cancel leaves nothing behind.

        Raises:
            Broken: the request cannot be carried.
            ConnectionClosed: the connection is over.
        """

    @property
    def registration(self) -> Registration:
        """What it registered with."""


class Tunnel:
    """One tunnel and the connections that serve it."""

    def __init__(self, settings: TunnelSettings) -> None:
        self.account_tag = settings.account_tag
        self.tunnel_id = settings.tunnel_id
        self.hostnames = settings.hostnames
        self.exclusive = settings.exclusive
        self.configuration = settings.configuration
        "What is pushed to each connector once registered, if anything."
        self.configuration_version = -1 if settings.configuration is None else settings.configuration_version
        "Connectors begin at -1 (lifecycle.md 6)."
        self.local_configuration: Mapping[str, object] | None = None
        "What a connector said its own configuration is."
        self.learned_hostnames: tuple[str, ...] = ()
        "Those that it names, whoever serves them."
        self.members: list[Member] = []
        self.on_empty: Callable[[], None] = lambda: None
        "Called when the last connection left."
        self.named_only = settings.named_only
        self.routed_hostnames: dict[str, None] = {}
        self.members_changed: Callable[[], None] | None = None
        "Called when a connection joined or left."
        self.elsewhere: Callable[[UUID], Sequence[Member]] | None = None
        "Returns the other edges that hold connections of a tunnel, best first."
        self._secret_digest = settings.secret_sha256 or _digest(settings.secret)
        self._turn = 0

    def __repr__(self) -> str:
        in_flight = sum(member.in_flight for member in self.members)
        return f"<Tunnel {self.tunnel_id} connections={len(self.members)} in_flight={in_flight}>"

    def check_secret(self, secret: bytes) -> bool:
        """Return whether this is the tunnel's secret, in a time that does not depend on it."""
        return hmac.compare_digest(self._secret_digest, _digest(secret))

    def place_for(self, registration: Registration) -> Member | Refusal | None:
        """Say what a new registration meets: the older connection it replaces, a refusal, or nothing.

        A connector is its client id. The same index of the same connector is the same connection, come back before
        this end noticed that the old one was gone.
        """
        for member in self.members:
            other = member.registration
            if other.connection_index != registration.connection_index:
                continue
            if other.client_id == registration.client_id:
                return member
            if self.exclusive:
                return member if registration.replace_existing else DUPLICATE
        return TOO_MANY if len(self.members) >= MAX_CONNECTIONS_PER_TUNNEL else None

    def join(self, member: Member) -> None:
        """Let `member` serve requests from now on."""
        self.members.append(member)
        if self.members_changed is not None:
            self.members_changed()

    def leave(self, member: Member) -> None:
        """Let `member` serve no new requests. Idempotent."""
        if member in self.members:
            self.members.remove(member)
            if not self.members:
                self.on_empty()
            if self.members_changed is not None:
                self.members_changed()

    def pick(self) -> Member | None:
        """Return the connection with the fewest requests in flight, in turn among equals; None without any."""
        members = self.members
        count = len(members)
        if not count:
            return None
        best, least = 0, -1
        for step in range(count):
            place = (self._turn + step) % count
            in_flight = members[place].in_flight
            if least < 0 or in_flight < least:
                best, least = place, in_flight
                if not least:
                    break
        self._turn = best + 1
        return members[best]

    def take(self, settings: TunnelSettings) -> bool:
        """Be as `settings` says from now on; True where there is a newer configuration to push."""
        self.account_tag = settings.account_tag
        self._secret_digest = settings.secret_sha256 or _digest(settings.secret)
        if settings.configuration is None or settings.configuration_version <= self.configuration_version:
            return False
        self.configuration, self.configuration_version = settings.configuration, settings.configuration_version
        return True

    def learn(self, configuration: bytes) -> bool:
        """Keep the configuration of a connector (wire.md 5.6, 10); False where it is not a JSON object."""
        try:
            parsed = json.loads(configuration)
        except (ValueError, RecursionError):
            return False
        if not isinstance(parsed, dict):
            return False
        self.local_configuration = parsed
        self.learned_hostnames = _hostnames_of(parsed)
        return True


class Tunnels:
    """All tunnels of an edge: by id for connectors, by hostname for visitors."""

    def __init__(self, settings: Iterable[TunnelSettings] = (), *, any_credentials: bool = False) -> None:
        self._by_id: dict[UUID, Tunnel] = {}
        self._any_credentials = any_credentials
        self._hostnames: Hostnames[Tunnel] = Hostnames()
        self._catch_all: list[Tunnel] = []
        self._routed: dict[str, Tunnel] = {}
        self.elsewhere: Callable[[UUID], Sequence[Member]] | None = None
        "What tunnels of `put` have from then on."
        self.unknown: UnknownTunnels | None = None
        "With a control plane: what connectors came for before it was told of."
        self.is_draining = False
        "Whether connectors that come are told to go to another edge."
        self.management = Management(time.time, self.get)  # noqa: TID251 - tokens carry dates, not durations
        self.complete = True
        "Whether a tunnel that is not here is nowhere; not so while a control plane is away."
        for tunnel in settings:
            self.add(tunnel)

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> list[Tunnel]:
        """Return every tunnel, oldest first."""
        return list(self._by_id.values())

    def get(self, tunnel_id: UUID) -> Tunnel | None:
        """Return the tunnel of that id."""
        return self._by_id.get(tunnel_id)

    def add(self, settings: TunnelSettings) -> Tunnel:
        """Add a tunnel.

        Raises:
            ValueError: its id is there already.
        """
        if settings.tunnel_id in self._by_id:
            raise ValueError(f"tunnel {settings.tunnel_id} is there already")
        tunnel = self._by_id[settings.tunnel_id] = Tunnel(settings)
        tunnel.on_empty = lambda: self._hostnames.withdraw(tunnel)
        if tunnel.hostnames:
            self._hostnames.set(tunnel, tunnel.hostnames)
        else:
            self._catch_all.append(tunnel)
        return tunnel

    def put(self, settings: TunnelSettings) -> Tunnel:
        """Add a tunnel that serves nothing but names routed to it. Its id is not there yet."""
        tunnel = self._by_id[settings.tunnel_id] = Tunnel(settings)
        tunnel.elsewhere = self.elsewhere
        if self.unknown is not None:
            self.unknown.is_known(settings.tunnel_id)
        return tunnel

    def remove(self, tunnel_id: UUID) -> Tunnel | None:
        """Forget a tunnel of `put`; names that are routed to it find it without connections from then on."""
        if self.unknown is not None:
            self.unknown.is_gone(tunnel_id)
        return self._by_id.pop(tunnel_id, None)

    def route_name(self, hostname: str, tunnel_id: UUID | None) -> None:
        """Let a name, perhaps `*.suffix`, lead to one tunnel; None: to none. One that is not there serves nobody."""
        before = self._routed.pop(hostname, None)
        if before is not None:
            before.routed_hostnames.pop(hostname, None)
        if tunnel_id is None:
            self._hostnames.route(hostname, None)
            return
        tunnel = self._by_id.get(tunnel_id)
        if tunnel is None:
            absent = TunnelSettings(account_tag="-", tunnel_id=tunnel_id, secret=b"-", named_only=True)
            tunnel = Tunnel(absent)
        self._routed[hostname] = tunnel
        tunnel.routed_hostnames[hostname] = None
        self._hostnames.route(hostname, tunnel)

    def authenticate(self, registration: Registration, now: float = 0.0) -> Tunnel | Refusal:
        """Return the tunnel that a registration has the credentials for, or why not. `now` is of any clock."""
        tunnel = self._by_id.get(registration.tunnel_id)
        if tunnel is None and self._any_credentials:
            if not registration.account_tag or not registration.tunnel_secret or len(self) >= MAX_OPEN_TUNNELS:
                return NOT_FOUND
            tunnel = self.add(
                TunnelSettings(
                    account_tag=registration.account_tag,
                    tunnel_id=registration.tunnel_id,
                    secret=registration.tunnel_secret,
                )
            )
        if tunnel is None and not self.complete:
            return NOT_KNOWN_YET
        if tunnel is None and self.unknown is not None and self.unknown.may_be_new(registration.tunnel_id, now):
            return NOT_TOLD_YET  # a connector that is started right behind `tunnel create`
        if tunnel is None or tunnel.account_tag != registration.account_tag:
            return NOT_FOUND
        return tunnel if tunnel.check_secret(registration.tunnel_secret) else WRONG_SECRET

    def for_host(self, host: str) -> Tunnel | None:
        """Return the tunnel that serves the lower-case `host` (no port): by name, by suffix, or whichever takes all.

        None serves the names under which connectors are managed: see `for_request`.
        """
        return None if host in HOSTNAMES else self._hostnames.find(host) or self.for_addresses()

    def for_request(self, host: str, target: bytes) -> Tunnel | OneConnector | None:
        """Return what serves a request for path and query `target` of `host`.

        Raises:
            Broken: it is to manage a connector, and its token is not accepted.
        """
        return self.management.tunnel(target) if host in HOSTNAMES else self.for_host(host)

    def for_addresses(self) -> Tunnel | None:
        """Return the tunnel for what no hostname decides: of those that take all, the first with connections."""
        for tunnel in self._catch_all:
            if tunnel.members:
                return tunnel
        return self._catch_all[0] if self._catch_all else None

    def learn(self, tunnel: Tunnel, configuration: bytes) -> tuple[str, ...]:
        """Keep the configuration of a connector of `tunnel`, and what hostnames it announces; return those of others.

        The announcement counts for as long as the tunnel has connections.
        """
        if not tunnel.learn(configuration) or tunnel.hostnames or tunnel.named_only:
            return ()
        return self._hostnames.announce(tunnel, tunnel.learned_hostnames)

    def hostnames_of(self, tunnel: Tunnel) -> list[str]:
        """Return the names that lead to `tunnel` now."""
        if tunnel.named_only:
            return list(tunnel.routed_hostnames)
        return list(tunnel.hostnames) or self._hostnames.served_by(tunnel)


def _digest(secret: bytes) -> bytes:
    # So that neither the comparison nor a dump of this process says more than it must, the length included.
    return hashlib.sha256(secret).digest()


def _hostnames_of(configuration: Mapping[str, object]) -> tuple[str, ...]:
    rules = configuration.get("ingress")
    names: dict[str, None] = {}
    for rule in rules if isinstance(rules, list) else ():
        name = rule.get("hostname") if isinstance(rule, Mapping) else None
        if not isinstance(name, str) or len(names) >= MAX_LEARNED_HOSTNAMES:
            continue
        name = name.lower().removesuffix(".")
        if is_hostname(name):
            names[name] = None
    return tuple(names)
