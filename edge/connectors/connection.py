"""One connection of a connector, from the edge's side: the control stream, its verdict, and configurations.

Started by `edge.connectors.registry` for each connection; visitors' requests reach it by `edge.connectors.exchange`.
What depends on the protocol is its session's.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.session import PushFailed
from pyconnector.edge.connectors.tunnels import DUPLICATE
from pyconnector.edge.tasks import TaskSet
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.registration import (
    ConnectionDetails,
    ConversationEnded,
    LocalConfigurationReceived,
    Refusal,
    RegisterRequested,
    Registration,
    RegistrationServer,
    UnregisterRequested,
)
from pyconnector.transport.errors import ConnectionClosed, TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.connectors.session import ConnectorSession
    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels
    from pyconnector.edge.faults.refusals import Refusals
    from pyconnector.edge.private.datagrams.link import DatagramLink
    from pyconnector.protocol.rpc.edge_rpc import ConfigurationAnswered
    from pyconnector.transport.seam import Stream

#: Seconds from the end of the handshake to a registration.
REGISTRATION_TIMEOUT = 10.0
#: Seconds that a refused connector has to go by itself.
REFUSED_LINGER = 2.0
#: Versions of configurations are 32-bit numbers.
MAX_VERSION = 2**31 - 1

_log = logging.getLogger("pyconnector.edge")


class EdgeConnection:
    """A connector's connection: accepted, then registered, then draining, then closed."""

    def __init__(self, session: ConnectorSession, *, tunnels: Tunnels, refusals: Refusals, location: str) -> None:
        self.session = session
        self.transport = session.transport
        self.connection_id = uuid.uuid4()
        self.in_flight = 0
        self.state = "accepted"
        self.tunnel: Tunnel | None = None
        self._tunnels = tunnels
        self._refusals = refusals
        self.location = location
        self.registered_at = 0.0
        "By the event loop's clock."
        self.applied_version = -1
        "Of the configuration that the connector said it has in force."
        self._registration: Registration | None = None
        self._tasks = TaskSet()
        self._refused_hostnames: tuple[str, ...] = ()
        self.datagrams: DatagramLink | None = None
        "What carries UDP and ICMP over it, once registered by a connector that can."

    def __repr__(self) -> str:
        return f"<EdgeConnection {self.connection_id} {self.state} in_flight={self.in_flight}>"

    @property
    def registration(self) -> Registration:
        """What it registered with. Read only once it did."""
        if self._registration is None:
            raise RuntimeError("this connection has not registered")
        return self._registration

    def describe(self) -> dict[str, object]:
        """Return what may be told about it, for the control API. No secrets."""
        told: dict[str, object] = {
            "id": str(self.connection_id),
            "state": self.state,
            "protocol": self.session.protocol,
            "peer": "{}:{}".format(*self.transport.peer_address[:2]),
            "in_flight": self.in_flight,
        }
        if self._registration is not None:
            registration = self._registration
            told |= {
                "tunnel_id": str(registration.tunnel_id),
                "connection_index": registration.connection_index,
                "client_id": str(registration.client_id),
                "version": registration.version,
                "arch": registration.arch,
                "features": list(registration.features),
            }
        return told

    async def run(self) -> None:
        """Serve the connection until it ended. Cancel closes it."""
        self.session.start(self._tasks, self._serve_control)
        self._tasks.start(self._limit_registration(), f"edge registration limit {self.connection_id}")
        try:
            info = await self.transport.wait_closed()
            if self.state != "closed":
                # What a peer says is shown as a repr: it could hold line ends.
                _log.info("connection %s ended%s", self.connection_id, f": {info.reason!r}" if info.reason else "")
        finally:
            self.close("the edge stops")
            await self._tasks.cancel_all()

    def close(self, reason: str) -> None:
        """Close at once; visitors in the middle of a request are cut off. Idempotent."""
        self._leave("closed")
        self.transport.close(0, reason)

    def drain(self) -> None:
        """Let no new request begin on it; those under way go on. Idempotent."""
        if self.state == "registered":
            self._leave("draining")

    async def open(self, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """See `Member.open`. Cancel leaves nothing behind."""
        return await self.session.open(self, request, body=body, finish=finish)

    async def push_configuration(
        self, version: int, configuration: bytes, *, numbered: bool = False
    ) -> ConfigurationAnswered:
        """Send a configuration and return the answer (wire.md 10). Cancel abandons the call.

        A connector ignores what is not newer than what it has, perhaps from an earlier life of this edge: then it is
        sent once more under a version that is. Not where versions are `numbered` by a control plane: there a connector
        that is ahead was told by a later call that overtook this one.

        Raises:
            PushFailed: there was no answer.
        """
        answer = await self.session.push(version, configuration)
        if not numbered and not answer.error and version < answer.latest_applied_version < MAX_VERSION:
            version = answer.latest_applied_version + 1
            answer = await self.session.push(version, configuration)
        if not answer.error:
            self.applied_version = answer.latest_applied_version
        if not answer.error and (self.applied_version < version if numbered else self.applied_version != version):
            raise PushFailed(f"The connector stays at version {answer.latest_applied_version}.")
        return answer

    # -- the control stream -----------------------------------------------------------------------------------------

    async def _limit_registration(self) -> None:
        await asyncio.sleep(REGISTRATION_TIMEOUT)
        if self.state == "accepted":
            self.close(f"no registration within {REGISTRATION_TIMEOUT:g} s")

    async def _serve_control(self, stream: Stream) -> None:
        try:
            await self._converse(stream)
        except ConnectionClosed:
            return  # `run` tells of it
        except (TransportError, ProtocolError) as exc:
            _log.warning("connection %s: the control stream failed: %r", self.connection_id, str(exc))
            self.close(f"control stream: {exc}"[:200])
            return
        if self.state == "refused":
            await asyncio.sleep(REFUSED_LINGER)
            self.close("registration refused")
        elif self.state == "accepted":
            self.close("control stream ended without a registration")
        else:
            # Its requests go on; without a control stream nobody could say when to stop sending new ones.
            self._leave("draining")

    async def _converse(self, stream: Stream) -> None:
        server = RegistrationServer()
        data = b" "
        while data:
            data = await stream.receive(READ_BYTES)
            events = server.receive_data(data) if data else server.receive_eof()
            ended = False
            for event in events:
                ended = self._decide(server, event) or ended
            if answer := server.bytes_to_send():
                await stream.send(answer)
            if ended or self.state == "refused":
                break
            await asyncio.sleep(0)  # a connector that floods holds nobody else up
        stream.finish()

    def _decide(self, server: RegistrationServer, event: object) -> bool:
        """Answer one event of the control stream; True where the conversation is over."""
        match event:
            case RegisterRequested(registration=registration):
                self._register(server, registration)
            case LocalConfigurationReceived(config=configuration):
                if self.state == "registered" and self.tunnel is not None:
                    self._learn(self.tunnel, configuration)
                server.acknowledge_local_configuration()
            case UnregisterRequested():
                self._leave("draining")
                server.acknowledge_unregister()
                _log.info("connection %s unregistered", self.connection_id)
            case ConversationEnded():
                return True
        return False

    def _register(self, server: RegistrationServer, registration: Registration) -> None:
        if self.state != "accepted":
            server.refuse(Refusal(cause="This connection has registered already", retry_after=0.0, should_retry=False))
            return
        verdict = self._refusals.take() or self._verdict(registration)
        if isinstance(verdict, Refusal):
            self.state = "refused"
            server.refuse(verdict)
            _log.warning(
                "connection %s for tunnel %s was refused: %r", self.connection_id, registration.tunnel_id, verdict.cause
            )
            return
        self.tunnel = verdict
        self.state = "registered"
        self._registration = registration
        self.registered_at = asyncio.get_running_loop().time()
        self.datagrams = self.session.carry_datagrams(registration.features)
        verdict.join(self)
        managed = verdict.configuration is not None
        server.accept(
            ConnectionDetails(connection_id=self.connection_id, location=self.location, remotely_managed=managed)
        )
        _log.info(
            "connection %s registered for tunnel %s as index %d over %s",
            self.connection_id,
            registration.tunnel_id,
            registration.connection_index,
            self.session.protocol,
        )
        if managed:
            self._tasks.start(self._push_kept(verdict), f"edge configuration {self.connection_id}")

    def _verdict(self, registration: Registration) -> Tunnel | Refusal:
        if self._tunnels.is_draining:
            return DUPLICATE  # after it a connector tries another address (lifecycle.md 5.2)
        tunnel = self._tunnels.authenticate(registration, asyncio.get_running_loop().time())
        if isinstance(tunnel, Refusal):
            return tunnel
        place = tunnel.place_for(registration)
        if isinstance(place, Refusal):
            return place
        if isinstance(place, EdgeConnection):
            place.close("replaced by a newer connection of the same index")
        return tunnel

    async def _push_kept(self, tunnel: Tunnel) -> None:
        if tunnel.configuration is None:
            return
        try:
            answer = await self.push_configuration(
                tunnel.configuration_version, tunnel.configuration, numbered=tunnel.named_only
            )
        except PushFailed as exc:
            _log.warning("connection %s did not take its configuration: %r", self.connection_id, str(exc))
            return
        if answer.error:
            _log.warning("connection %s rejected its configuration: %r", self.connection_id, answer.error)
        elif self.state == "registered":
            self._learn(tunnel, tunnel.configuration)

    def _learn(self, tunnel: Tunnel, configuration: bytes) -> None:
        refused = self._tunnels.learn(tunnel, configuration)
        if refused and refused != self._refused_hostnames:
            _log.warning(
                "connection %s announces %d hostnames that are served by others, such as %r: they stay with them",
                self.connection_id,
                len(refused),
                refused[0],
            )
        self._refused_hostnames = refused

    def _leave(self, state: str) -> None:
        if self.tunnel is not None:
            self.tunnel.leave(self)
        if self.datagrams is not None:
            self.datagrams.leaving()
        if self.state != "closed":
            self.state = state
