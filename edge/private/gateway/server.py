"""The gateway's listeners, and what their clients share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.edge.listener import Listener
from pyconnector.edge.private.gateway.arrival import HttpArrival
from pyconnector.edge.private.gateway.client import GatewayClient
from pyconnector.edge.private.gateway.http3.client import SETTINGS, Http3Client
from pyconnector.edge.private.gateway.records import FlowRecord
from pyconnector.edge.settings import is_loopback
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.turns import Turns
from pyconnector.protocol.proxying.socks5 import Socks5
from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectFailed, TransportError
from pyconnector.web.http3.frames import ErrorCode

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pyconnector.edge.private.gateway.judge import Judge
    from pyconnector.edge.private.gateway.own_addresses import Address
    from pyconnector.edge.private.gateway.records import Records
    from pyconnector.edge.private.gateway.stream_flow import Extension
    from pyconnector.edge.private.wireguard.ports import DevicePorts
    from pyconnector.edge.settings import HostPort
    from pyconnector.transport.seam import Connection
    from pyconnector.transport.seam import Listener as QuicListener
    from pyconnector.transport.settings import ServerTls

#: Clients at once, of both listeners.
MAX_CLIENTS: Final = 8_192
#: Ports of the system's choice that are tried, until one is free for TCP and UDP.
PORT_ATTEMPTS: Final = 8
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
    http3_address: HostPort | None = None
    "Of the same port, for HTTP/3; None without TLS."
    socks_address: HostPort | None = None

    def __init__(
        self,
        judge: Judge,
        records: Records,
        *,
        tls: ssl.SSLContext | None,
        own: Callable[[], tuple[Address, ...]],
        quic: ServerTls | None = None,
        http3: bool = True,
    ) -> None:
        """`own` tells where the edge itself can be reached; asked again and again, since that may change. `quic` is the
        same certificate for HTTP/3, which is served from the start with `http3`.
        """
        self.judge = judge
        self._own = own
        judge.own_addresses = own()
        self.records = records
        self.tasks = TaskSet()
        self.turns = Turns()
        self.udp_everywhere = False
        "Whether UDP ASSOCIATE, which nothing encrypts, is served beyond loopback."
        self.extensions: dict[str, Extension] = {}
        "What extends CONNECT beside connect-udp, by the token of `:protocol`: over HTTP/2 and HTTP/3."
        self.quic_engine = "aioquic"
        "What carries HTTP/3: aioquic, qh3 or auto."
        self._tls = tls
        self._quic = quic
        self._http3 = http3
        self._quic_listener: QuicListener | None = None
        self._clients: set[Client] = set()
        self._listeners: list[Listener] = []
        self.wireguard: DevicePorts | None = None
        "Where devices come in by WireGuard; started with the rest."

    def __repr__(self) -> str:
        return f"<Gateway clients={len(self._clients)} flows={len(self.judge)}>"

    async def start(self, http: HostPort | None, socks: HostPort | None) -> None:
        """Listen at the addresses that are given. Cancel, or a failure, leaves some open: call `close`.

        Raises:
            OSError: an address is taken or not ours.
        """
        if http is not None:
            await self._start_http(http)
        if socks is not None:
            # Few clients speak SOCKS within TLS: on loopback nobody listens in, and elsewhere there is no other way.
            tls = None if is_loopback(socks[0]) else self._tls
            listener = Listener(lambda: GatewayClient(self, Socks5(), "socks5"), "clients", tls=tls)
            self._listeners.append(listener)
            self.socks_address = await listener.start(*socks)
        if self.wireguard is not None:
            await self.wireguard.start()
        self.tasks.start(self._look(), "edge gateway looks")

    async def serve_http3(self) -> None:
        """Serve HTTP/3 at the UDP port of `http_address`. Cancel leaves nothing open.

        Raises:
            OSError: that port is taken.
        """
        assert self.http_address is not None
        assert self._quic is not None
        settings = replace(SETTINGS, engine=self.quic_engine)
        try:
            self._quic_listener = await quic.listen(
                *self.http_address, tls=self._quic, settings=settings, on_connection=self._quic_client
            )
        except ConnectFailed as error:
            raise OSError(f"the gateway cannot serve HTTP/3: {error.reason}") from error
        self.http3_address = self.http_address

    async def _start_http(self, http: HostPort) -> None:
        for left in reversed(range(PORT_ATTEMPTS if not http[1] else 1)):
            listener = Listener(lambda: HttpArrival(self), "clients", tls=self._tls)
            self._listeners.append(listener)
            self.http_address = await listener.start(*http)
            if self._quic is None or not self._http3:
                return
            try:
                await self.serve_http3()
                return
            except OSError:
                if not left:
                    raise
                listener.close()  # the system chose a port that is free for TCP alone
                self._listeners.remove(listener)

    def _quic_client(self, connection: Connection) -> None:
        try:
            Http3Client(self, connection)
        except TransportError as error:
            connection.close(ErrorCode.STREAM_CREATION_ERROR, str(error))

    async def close(self) -> None:
        """Stop listening and cut every client off. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        for listener in self._listeners:
            listener.close()
        for listener in self._listeners:
            await listener.wait_closed()
        self.judge.close()
        if self.wireguard is not None:
            await self.wireguard.close()
        for client in tuple(self._clients):
            client.abort()
        if self._quic_listener is not None:
            await self._quic_listener.close()
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
