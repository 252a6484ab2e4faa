"""The gateway's listeners, and what their clients share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.edge.listener import Listener
from pyconnector.edge.private.gateway.arrival import HttpArrival
from pyconnector.edge.private.gateway.client import GatewayClient
from pyconnector.edge.private.gateway.records import FlowRecord
from pyconnector.edge.settings import is_loopback
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.turns import Turns
from pyconnector.protocol.proxying.socks5 import Socks5

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pyconnector.edge.private.gateway.judge import Judge
    from pyconnector.edge.private.gateway.own_addresses import Address
    from pyconnector.edge.private.gateway.records import Records
    from pyconnector.edge.settings import HostPort

#: Clients at once, of both listeners.
MAX_CLIENTS: Final = 8_192
#: Seconds between looks at what has come to its time. Changes are looked at when they happen.
LOOK_INTERVAL: Final = 1.0
#: Such looks between two at the addresses of this machine.
OWN_INTERVAL: Final = 10


class Client(Protocol):
    """One connection of a client, as the gateway sees it."""

    def abort(self) -> None:
        """Cut the client off."""


class Gateway:
    """Serves clients from `start` to `close`."""

    http_address: HostPort | None = None
    socks_address: HostPort | None = None

    def __init__(
        self, judge: Judge, records: Records, *, tls: ssl.SSLContext | None, own: Callable[[], tuple[Address, ...]]
    ) -> None:
        """`own` tells where the edge itself can be reached; asked again and again, since that may change."""
        self.judge = judge
        self._own = own
        judge.own_addresses = own()
        self.records = records
        self.tasks = TaskSet()
        self.turns = Turns()
        self.udp_everywhere = False
        "Whether UDP ASSOCIATE, which nothing encrypts, is served beyond loopback."
        self._tls = tls
        self._clients: set[Client] = set()
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        return f"<Gateway clients={len(self._clients)} flows={len(self.judge)}>"

    async def start(self, http: HostPort | None, socks: HostPort | None) -> None:
        """Listen at the addresses that are given. Cancel, or a failure, leaves some open: call `close`.

        Raises:
            OSError: an address is taken or not ours.
        """
        if http is not None:
            listener = Listener(lambda: HttpArrival(self), "clients", tls=self._tls)
            self._listeners.append(listener)
            self.http_address = await listener.start(*http)
        if socks is not None:
            # Few clients speak SOCKS within TLS: on loopback nobody listens in, and elsewhere there is no other way.
            tls = None if is_loopback(socks[0]) else self._tls
            listener = Listener(lambda: GatewayClient(self, Socks5(), "socks5"), "clients", tls=tls)
            self._listeners.append(listener)
            self.socks_address = await listener.start(*socks)
        self.tasks.start(self._look(), "edge gateway looks")

    async def close(self) -> None:
        """Stop listening and cut every client off. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        for listener in self._listeners:
            listener.close()
        for listener in self._listeners:
            await listener.wait_closed()
        self.judge.close()
        for client in tuple(self._clients):
            client.abort()
        await self.tasks.cancel_all()

    def new_record(self, onramp: str, source: HostPort, *, protocol: str = "tcp") -> FlowRecord:
        """Return the record of a flow that begins now."""
        return FlowRecord(onramp=onramp, protocol=protocol, source=source, begun=self.records.clock())

    def joined(self, client: Client) -> bool:
        """Count a new client; False where there are too many."""
        self._clients.add(client)
        return len(self._clients) <= MAX_CLIENTS

    def left(self, client: Client) -> None:
        """A client is gone."""
        self._clients.discard(client)

    async def _look(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.judge.check_time()
            looks += 1
            if not looks % OWN_INTERVAL:
                self.judge.change_own_addresses(self._own())
