"""The listener for visitors over HTTP/1.1 and HTTP/2, and what their connections share."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Protocol

from pyconnector.edge.listener import Listener
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.turns import Turns
from pyconnector.edge.visitors.first_bytes import FirstBytes
from pyconnector.edge.visitors.identity import RayNumbers
from pyconnector.edge.visitors.proxies import TrustedProxies
from pyconnector.edge.visitors.tls.arrival import IN_THE_CLEAR, Arrival
from pyconnector.edge.visitors.tls.certificates import VisitorCertificates

if TYPE_CHECKING:
    from pyconnector.edge.connectors.tunnels import Tunnels
    from pyconnector.edge.settings import HostPort, VisitorSettings
    from pyconnector.edge.visitors.watch import Watch

#: Seconds between two looks at who took too long.
SWEEP = 0.5


class VisitorConnection(Protocol):
    """One socket of a visitor, as the server sees it."""

    def check_time(self, now: float) -> None:
        """Act where the visitor or the connector took too long."""

    def abort(self) -> None:
        """Cut the visitor off."""

    def drain(self) -> None:
        """Ask the visitor to go elsewhere with its next request, where its protocol has words for that."""

    @property
    def is_busy(self) -> bool:
        """Whether something of the visitor is under way."""


class VisitorServer:
    """Serves visitors from `start` to `close`."""

    def __init__(self, settings: VisitorSettings, tunnels: Tunnels, location: str, watch: Watch | None = None) -> None:
        self.settings = settings
        self.tunnels = tunnels
        self.watch = watch
        self.rays = RayNumbers(random.SystemRandom().getrandbits(64), location)
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.tasks = TaskSet()
        self.turns = Turns()
        self._connections: set[VisitorConnection] = set()
        self._listener = Listener(lambda: FirstBytes(self), "visitors")
        self._certificates: VisitorCertificates | None = None
        self._tls_listener: Listener | None = None
        self.tls_address: HostPort | None = None
        "Where visitors are served over TLS, once started."
        self._sweep: asyncio.TimerHandle | None = None
        self.is_draining = False
        "Whether visitors are to go elsewhere with their next requests."
        self.draining_since = 0.0

    def __repr__(self) -> str:
        return f"<VisitorServer connections={len(self._connections)} tasks={len(self.tasks)}>"

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> HostPort:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken or not ours.
            SettingsError: a certificate cannot be used.
        """
        bound = await self._listener.start(*self.settings.address)
        if self.settings.tls_address is not None:
            self._certificates = VisitorCertificates(self.settings.certificates)
            listener = Listener(lambda: FirstBytes(self), "visitors over TLS", tls=self._certificates.context)
            self._tls_listener = listener
            self.tls_address = await listener.start(*self.settings.tls_address)
            self.tasks.start(self._certificates.keep_fresh(), "edge visitor certificates")
        self._sweep = asyncio.get_running_loop().call_later(SWEEP, self._check_time)
        return bound

    @property
    def busy(self) -> int:
        """Visitors of whom something is under way."""
        return sum(connection.is_busy for connection in self._connections)

    def drain(self) -> None:
        """Accept no visitor any more, and let those who are here go once they have their answers. Idempotent."""
        self.is_draining, self.draining_since = True, asyncio.get_running_loop().time()
        for listener in self._listeners():
            listener.close()
        for connection in tuple(self._connections):
            connection.drain()

    def _listeners(self) -> list[Listener]:
        return [self._listener, *([self._tls_listener] if self._tls_listener is not None else [])]

    async def close(self) -> None:
        """Stop listening and cut every visitor off. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        if self._sweep is not None:
            self._sweep.cancel()
        listeners = self._listeners()
        for listener in listeners:
            listener.close()
        for listener in listeners:
            await listener.wait_closed()
        for connection in tuple(self._connections):
            connection.abort()
        await self.tasks.cancel_all()

    def arrival(self, transport: asyncio.BaseTransport) -> Arrival:
        """Return how the visitor of a transport came."""
        return IN_THE_CLEAR if self._certificates is None else self._certificates.arrival(transport)

    def joined(self, connection: VisitorConnection) -> bool:
        """Count a new connection; False where there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self.settings.max_connections

    def left(self, connection: VisitorConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def explain(self, error: str) -> str:
        """Return what a visitor is told of a connector's error."""
        if self.settings.error_details:
            return error
        return "The service behind the tunnel cannot be reached."

    def _check_time(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.check_time(now)
        if self.watch is not None:
            self.watch.check_time()
        self._sweep = loop.call_later(SWEEP, self._check_time)
