"""A whole edge in one object: start it, register tunnels and ports, stop it.

`pyconnector edge`, `pyconnector run --local`, the demo, tests and the bench all use this.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pyconnector.edge.access.gate import Gate
from pyconnector.edge.access.state import AccessState
from pyconnector.edge.audit.files import AuditError
from pyconnector.edge.audit.jobs import LogpushJobs
from pyconnector.edge.audit.log import AuditLog
from pyconnector.edge.audit.reported import Reported
from pyconnector.edge.authority import AUTHORITY_NAME, CERTIFICATE_FILE, EDGE_NAMES, load_or_make_authority, write_new
from pyconnector.edge.connectors.registry import Connectors
from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.edge.debug_api.api import ControlApi
from pyconnector.edge.debug_api.http import ControlServer
from pyconnector.edge.drain import GRACE, Drain
from pyconnector.edge.faults.refusals import Refusals
from pyconnector.edge.faults.relay import FaultRelay
from pyconnector.edge.listener import Listener
from pyconnector.edge.settings import EdgeSettings, SettingsError, TcpPort, TunnelSettings, host_port_text
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.visitors.server import VisitorServer
from pyconnector.edge.visitors.tcp.port import TcpVisitors
from pyconnector.edge.visitors.watch import Watch
from pyconnector.transport import http2, quic
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import ServerTls
from pyconnector.transport.tls.certificates import make_authority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from uuid import UUID

    from pyconnector.edge.directory.follower import Follower
    from pyconnector.edge.drain import Visitors
    from pyconnector.edge.mesh.identity import MeshIdentity
    from pyconnector.edge.mesh.peers import Peers
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.gateway.settings import GatewaySettings
    from pyconnector.edge.private.network import PrivateNetwork
    from pyconnector.edge.settings import DirectorySettings, HostPort, JoinSettings
    from pyconnector.transport.seam import Connection
    from pyconnector.transport.tls.certificates import Authority

#: Ports that are tried where any would do, for one that is free for UDP and for TCP.
PORT_ATTEMPTS = 16


class LocalEdge:
    """Accepts connectors and serves visitors from `start` to `stop`."""

    quic_address: HostPort
    "Where connectors reach it, over QUIC and over HTTP/2."
    visitor_address: HostPort
    "Where visitors reach it over HTTP/1.1 and HTTP/2."
    control_address: HostPort | None
    "Where the control API listens; None without one."
    ca_pem: bytes
    "The certificate that connectors have to trust."
    ca_path: Path
    "A file with that certificate, for `--cacert`."

    def __init__(self, settings: EdgeSettings | None = None) -> None:
        self.settings = settings = settings or EdgeSettings()
        self.tunnels = Tunnels(settings.tunnels, any_credentials=settings.any_credentials)
        self.refusals = Refusals()
        self.connectors = Connectors(
            tunnels=self.tunnels, refusals=self.refusals, location=settings.location, limit=settings.max_connectors
        )
        self.relay: FaultRelay | None = None
        self.follower: Follower | None = None
        self._authority: Authority | None = None
        self._identity: MeshIdentity | None = None
        self._peers: Peers | None = None
        self._mesh_contexts: tuple[ssl.SSLContext, ...] = ()
        self._certified: list[Callable[[ServerTls], None]] = []
        self._tcp_ports: list[TcpVisitors] = []
        self.peer_address: HostPort | None = None
        "Where other edges reach it; None for an edge on its own."
        self.control_address = None
        self.gateway: Gateway | None = None
        "Where agents come in, while the edge runs."
        self.private: PrivateNetwork | None = None
        "Flows to addresses behind tunnels, while the edge runs."
        self.gate = Gate(
            AccessState(),
            clock=time.time,  # noqa: TID251 - tokens carry dates, not durations
            ticks=time.monotonic,
        )
        "Who may pass, once a control plane has told it."
        if settings.directory is not None:
            self._make_login()
        self.audit = None if settings.audit is None else AuditLog(settings.audit)
        jobs = LogpushJobs(None if self.audit is None else self.audit.pushers)
        self._reported = None if settings.directory is None else Reported(time.monotonic, jobs)
        if self.audit is not None:
            self.audit.reported = self._reported
        self._watch = Watch(self.gate, self.audit, settings.location, self._reported)
        self._visitors = VisitorServer(settings.visitors, self.tunnels, settings.location, self._watch)
        self._exit = contextlib.AsyncExitStack()
        self._running = False

    def __repr__(self) -> str:
        state = "running" if self._running else "stopped"
        return f"<LocalEdge {state} tunnels={len(self.tunnels)} {self.connectors!r} {self._visitors!r}>"

    async def start(self) -> None:
        """Open every socket. Cancel, or a failure, leaves nothing open.

        Raises:
            SettingsError: an address is taken, or the certificate authority cannot be used.
        """
        if self._running:
            raise RuntimeError("this edge is running already")
        self._running = True
        try:
            await self._open()
        except ConnectFailed as exc:
            await self.stop()
            raise SettingsError(f"the edge cannot listen for connectors: {exc.reason}") from exc
        except OSError as exc:
            await self.stop()
            raise SettingsError(f"the edge cannot start: {exc.strerror or exc}") from exc
        except BaseException:
            await self.stop()
            raise

    async def drain(self, grace: float | None = None) -> None:
        """Hand over to the other edges of the mesh: call `stop` afterwards. Without others there is nothing to do.

        Nobody new is let in, the others learn that this edge drains, connectors are told to go elsewhere, and requests
        have `grace` seconds to end. Cancel leaves it half done.
        """
        if self.follower is None or self._peers is None or not self._peers.staying:
            return
        self.tunnels.is_draining = True
        await self.follower.drain()
        visitors: list[Visitors] = [self._visitors, *self._tcp_ports]
        await Drain(
            self.connectors, visitors, self._peers.stays_at_another, grace=GRACE if grace is None else grace
        ).run()

    async def stop(self) -> None:
        """Close everything: visitors and connectors are cut off. Idempotent. Cancel leaves some of it open."""
        if self._running and self.follower is not None:
            await self.follower.leave()  # first, so that other edges send nothing more
        self._running = False
        stack, self._exit = self._exit, contextlib.AsyncExitStack()
        await stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def visitor_tls_address(self) -> HostPort | None:
        """Where visitors reach it over TLS; None without a certificate."""
        return self._visitors.tls_address

    @property
    def visitors_url(self) -> str:
        """Where visitors reach it, over TLS where there is a certificate."""
        secure = self.visitor_tls_address
        if secure is not None:
            return f"https://{host_port_text(secure)}"
        return f"http://{host_port_text(self.visitor_address)}"

    def add_tunnel(self, account_tag: str, tunnel_id: UUID, secret: bytes, hostnames: Sequence[str] = ()) -> None:
        """Let connectors register for one more tunnel. Without `hostnames` it serves what no other tunnel does.

        Raises:
            SettingsError: a value is unusable.
            ValueError: the tunnel is there already.
        """
        self.tunnels.add(
            TunnelSettings(account_tag=account_tag, tunnel_id=tunnel_id, secret=secret, hostnames=tuple(hostnames))
        )

    async def add_tcp_port(self, destination: str, port: int = 0, *, tunnel_id: UUID | None = None) -> int:
        """Open a TCP port for a hostname or an IP:port, and return it. Cancel leaves nothing open.

        Raises:
            SettingsError: the destination is neither, or the port is taken.
        """
        if not self._running:
            raise RuntimeError("this edge is not running")
        return await self._open_tcp_port(TcpPort(destination=destination.lower(), port=port, tunnel_id=tunnel_id))

    def attach(self, connection: Connection) -> None:
        """Take a connection that came by another way than the edge's own listener: a test's, in memory."""
        self.connectors.accept(connection)

    async def _open(self) -> None:
        settings = self.settings
        if self.audit is not None:
            # Closed last: what is cut off is recorded too.
            self._exit.push_async_callback(self.audit.close)
            try:
                await self.audit.start()
            except AuditError as error:
                raise SettingsError(str(error)) from error
        join = settings.directory.join if settings.directory is not None else None
        if settings.directory is not None:
            self._make_follower(settings.directory)
        if join is not None:
            await self._join(join)
        if settings.address is not None:
            await self._listen_for_connectors(*settings.address)
        if self.follower is not None:
            told = "" if settings.address is None else host_port_text(self.quic_address)
            if join is not None and settings.address is not None:
                told = advertised(join, self.quic_address)
            await self.follower.start(told)
        self._open_private()
        # Closed in reverse order: visitors first, then connectors with the reason, then what listens for them.
        self._exit.push_async_callback(self._close_login)
        self._exit.push_async_callback(self.connectors.close)
        self._exit.push_async_callback(self._visitors.close)
        self.visitor_address = await self._visitors.start()
        if settings.gateway is not None:
            await self._open_gateway(settings.gateway)
        if self.follower is not None:
            self.follower.announce(visitors=self.visitors_url)
        for tcp_port in settings.tcp_ports:
            await self._open_tcp_port(tcp_port)
        if settings.control is not None:
            api = ControlApi(
                tunnels=self.tunnels, connectors=self.connectors, refusals=self.refusals, relay=self.relay,
                follower=self.follower, audit=self.audit,
            )  # fmt: skip
            control = ControlServer(settings.control, api.handle)
            self._exit.push_async_callback(control.close)
            self.control_address = await control.start()

    def _open_private(self) -> None:
        # Loaded where it is used: it needs a DNS library that an edge without private routes does without.
        settings = self.settings
        if self.follower is None and not settings.private_routes and not settings.private_hostnames:
            return
        from pyconnector.edge.private.network import PrivateNetwork, routes_of

        if self.follower is not None:
            routes = self.follower.directory.routes
        else:
            routes = routes_of(settings.private_routes, settings.private_hostnames)
        self.private = PrivateNetwork(self.tunnels, routes)
        self._exit.push_async_callback(self.private.close)

    async def _open_gateway(self, settings: GatewaySettings) -> None:
        from pyconnector.edge.private.gateway.open import open_gateway

        if self.private is None:
            raise SettingsError("a gateway needs private routes, or a control plane that has them")
        authority = self._authority if settings.own_certificate else None
        bound = (self.settings.address, self.settings.visitors.address)
        self.gateway = open_gateway(settings, self.private, authority, self._watch, bound)
        self.gateway.quic_engine = self.settings.quic.engine
        self._exit.push_async_callback(self.gateway.close)
        await self.gateway.start(settings.http, settings.socks)

    async def _close_login(self) -> None:
        if self.gate.login is not None:
            await self.gate.login.close()

    def _make_login(self) -> None:
        # Loaded where it is used: an edge without a control plane knows nobody who could log in.
        from pyconnector.edge.access.login.login import Login

        self.gate.login = Login(self.gate, self.settings.login_pins)

    def _make_follower(self, settings: DirectorySettings) -> None:
        # Loaded where it is used: it needs an HTTP client that an edge without a control plane does without.
        from pyconnector.edge.directory.follower import Follower

        follower = self.follower = Follower(settings, self.tunnels, self.connectors, self.gate.state, self._reported)
        if self.gate.login is not None:
            self.gate.login.shared.ask = follower.login_count
        self._exit.push_async_callback(follower.close)

    async def _join(self, settings: JoinSettings) -> None:
        """Become one of several edges. Cancel leaves what was opened to `stop`."""
        from pyconnector.edge.mesh.peers import Peers
        from pyconnector.edge.mesh.renewal import keep_valid
        from pyconnector.edge.mesh.server import PeerServer

        assert self.follower is not None
        identity = self._identity = await self.follower.identity()
        later = self._visitors.turns.add
        client, served = identity.client_context(), identity.server_context()
        self._mesh_contexts = (client, served)
        peers = self._peers = Peers(client, later)
        self._exit.callback(peers.close)
        self.tunnels.elsewhere = peers.holding
        self.follower.tell_peers(peers.learn)
        server = PeerServer(self.tunnels, served, later)
        self._exit.push_async_callback(server.close)
        self.peer_address = await server.start(settings.listen)
        self.follower.announce(peer=advertised(settings, self.peer_address))
        tasks = TaskSet()
        self._exit.push_async_callback(tasks.cancel_all)
        tasks.start(keep_valid(identity, self.follower.identity, self._show), "edge certificate")

    def _show(self, identity: MeshIdentity) -> None:
        """Be known by another certificate in handshakes from now on."""
        self._identity = identity
        for context in self._mesh_contexts:
            identity.show_by(context)
        for show in self._certified:
            show(ServerTls(certificate_chain=identity.chain, private_key=identity.key))

    async def _listen_for_connectors(self, host: str, port: int) -> None:
        """Listen for QUIC and for HTTP/2 at one port number, as the real edge does."""
        tls = self._prepare_tls()
        for attempt in range(PORT_ATTEMPTS):
            opened = contextlib.AsyncExitStack()
            try:
                if "quic" in self.settings.protocols:
                    self.quic_address = await self._listen_for_quic(opened, tls, host, port)
                if "http2" in self.settings.protocols:
                    taken = port if "quic" not in self.settings.protocols else self.quic_address[1]
                    self.quic_address = await self._listen_for_http2(opened, tls, host, taken)
            except BaseException as exc:
                await opened.aclose()
                # A free UDP port may be no free TCP port.
                if not isinstance(exc, OSError) or port or attempt + 1 == PORT_ATTEMPTS:
                    raise
                continue
            await self._exit.enter_async_context(opened)
            return

    async def _listen_for_quic(
        self, opened: contextlib.AsyncExitStack, tls: ServerTls, host: str, port: int
    ) -> HostPort:
        settings = self.settings
        inner: HostPort = ("127.0.0.1", 0) if settings.fault_relay else (host, port)
        listener = await quic.listen(*inner, tls=tls, settings=settings.quic, on_connection=self.connectors.accept)
        opened.push_async_callback(listener.close)
        self._certified.append(listener.show)
        if not settings.fault_relay:
            return listener.address
        self.relay = FaultRelay(host, port, listener.address)
        opened.push_async_callback(self.relay.close)
        return await self.relay.start()

    async def _listen_for_http2(
        self, opened: contextlib.AsyncExitStack, tls: ServerTls, host: str, port: int
    ) -> HostPort:
        context = http2.server_context(tls)
        listener = Listener(self._http2_socket, "connectors", tls=context)
        address = await listener.start(host, port)

        async def close() -> None:
            listener.close()
            await listener.wait_closed()

        opened.push_async_callback(close)
        self._certified.append(partial(http2.show_certificate, context))
        return address

    def _http2_socket(self) -> http2.Http2Socket:
        return http2.Http2Socket(
            client=True,
            settings=http2.CLIENT_SETTINGS,
            on_connection=self.connectors.accept,
            later=self._visitors.turns.add,
        )

    async def _open_tcp_port(self, settings: TcpPort) -> int:
        visitors = TcpVisitors(settings, self._visitors)
        try:
            port = await visitors.start()
        except OSError as exc:
            raise SettingsError(f"TCP port {settings.port} cannot be opened: {exc.strerror or exc}") from exc
        self._tcp_ports.append(visitors)
        self._exit.push_async_callback(visitors.close)
        return port

    def _prepare_tls(self) -> ServerTls:
        directory = self.settings.ca_directory
        if self._identity is not None:
            return self._mesh_tls(self._identity)
        if directory is not None:
            authority = load_or_make_authority(directory)
        else:
            authority = make_authority(AUTHORITY_NAME)
            directory = Path(tempfile.mkdtemp(prefix="pyconnector-edge-"))
            self._exit.callback(shutil.rmtree, directory, ignore_errors=True)
            write_new(directory / CERTIFICATE_FILE, authority.certificate_pem, 0o644)
        self._authority = authority
        self.ca_pem = authority.certificate_pem
        self.ca_path = directory / CERTIFICATE_FILE
        chain, key = authority.issue(list(EDGE_NAMES))
        return ServerTls(certificate_chain=chain, private_key=key)

    def _mesh_tls(self, identity: MeshIdentity) -> ServerTls:
        """Show connectors what other edges are shown too: one authority for the whole mesh."""
        directory = Path(tempfile.mkdtemp(prefix="pyconnector-edge-"))
        self._exit.callback(shutil.rmtree, directory, ignore_errors=True)
        self.ca_pem, self.ca_path = identity.authority, directory / CERTIFICATE_FILE
        write_new(self.ca_path, identity.authority, 0o644)
        return ServerTls(certificate_chain=identity.chain, private_key=identity.key)


def advertised(settings: JoinSettings, bound: HostPort) -> str:
    """Return the HOST:PORT that others are told of a bound address: one of every address has none by itself.

    Raises:
        SettingsError: this machine has no address that could be told.
    """
    host = settings.advertise or bound[0]
    if host in ("0.0.0.0", "::"):
        from pyconnector.edge.private.gateway.own_addresses import seen_from_outside

        found = list(seen_from_outside())
        if not found:
            raise SettingsError("this machine has no address that other edges could be told: give --advertise HOST")
        host = str(found[0])
    return host_port_text((host, bound[1]))
