"""One attempt to be connected: dial, register, serve, and how it ended (wire.md 2, 5; reference/lifecycle.md 5.2, 10).

The supervisor makes a new `EdgeConnection` for every attempt and decides from its `Ended` what comes next.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import RegistrationFailed, RegistrationRefused
from pyconnector.connector.api.events import Connecting, Registered, Unregistered
from pyconnector.connector.link.control_stream import ControlStream
from pyconnector.connector.link.session import QUIC
from pyconnector.connector.observe.log import Log, fields
from pyconnector.connector.tasks import TaskOwner
from pyconnector.protocol.rpc.registration import Registration, packed_ip
from pyconnector.transport.errors import ConnectFailed, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any
    from uuid import UUID

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.api.events import Event
    from pyconnector.connector.config.model import Credentials
    from pyconnector.connector.link.session import Session
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.protocol.rpc.registration import ConnectionDetails, Refusal
    from pyconnector.transport.seam import Address, Connection

#: Seconds that the end of a connection is waited for after this side closed it.
CLOSE_TIMEOUT = 2.0
#: The feature of those that take configurations from the edge.
REMOTE_CONFIG = "allow_remote_config"
#: What every registration says this connector can do (wire.md 5.3), but for what nothing here implements.
FEATURES = (REMOTE_CONFIG, "serialized_headers", "support_datagram_v2", "support_quic_eof")
#: The feature of those whose log can be read from afar.
MANAGEMENT = "management_logs"
#: The features that say how datagrams are written.
DATAGRAM_V2, DATAGRAM_V3 = "support_datagram_v2", "support_datagram_v3_2"
#: Feature names that the edge must no longer be told.
WITHDRAWN_FEATURES = frozenset({"support_datagram_v3", "support_datagram_v3_1"})


class EndKind(Enum):
    """How an attempt ended, as far as the next one depends on it."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNREGISTERED = "unregistered"
    "Connected, but the registration got no answer."
    LOST = "lost"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    kind: EndKind
    reason: str
    refusal: Refusal | None = None
    idle: bool = False
    "The connection went silent."
    untrusted: bool = False
    "The edge's certificate was not accepted."
    no_route: bool = False
    "This machine or its network said at once that there is no way."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the supervisor asks of one attempt."""

    index: int
    address: Address
    local_port: int = 0
    "The port to dial from; 0 for any."
    previous_attempts: int = 0
    protocol: str = QUIC


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Identity:
    """As whom connections register."""

    credentials: Credentials
    client_id: UUID
    features: tuple[str, ...] = FEATURES
    version: str
    arch: str

    def registration(self, plan: Plan, origin_ip: str = "") -> Registration:
        """The arguments of registerConnection (wire.md 5.2)."""
        return Registration(
            account_tag=self.credentials.account_tag,
            tunnel_secret=self.credentials.secret,
            tunnel_id=self.credentials.tunnel_id,
            connection_index=plan.index,
            client_id=self.client_id,
            features=self.features,
            version=self.version,
            arch=self.arch,
            # Over QUIC the reference sends the edge's own address here, and not this machine's.
            origin_local_ip=packed_ip(origin_ip or plan.address[0]),
            previous_attempts=min(plan.previous_attempts, 255),
        )


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Services:
    """What every connection of one connector shares."""

    identity: Identity
    dial: Callable[[Plan], Awaitable[Session]]
    "Raises ConnectFailed; cancel leaves nothing open."
    orchestrator: Orchestrator
    counters: Counters
    emit: Callable[[Event], None]
    reached: Callable[[Address, float], None] = lambda address, seconds: None
    "Told how long it took to connect to an address."
    configuration_flags: tuple[tuple[str, str], ...] = ()
    rpc_timeout: float = 5.0


@dataclass(slots=True)
class EdgeConnection:
    """One attempt. `run` is called once; `drain` and `push_local_configuration` may be called while it runs."""

    plan: Plan
    services: Services
    details: ConnectionDetails | None = None
    "What the edge said at registration; None before."
    session: Session | None = None
    _control: ControlStream | None = None
    _draining: bool = False
    _log: Log = field(init=False)

    def __post_init__(self) -> None:
        self._log = Log("connection", {"connIndex": self.plan.index, "ip": self.plan.address[0]})

    @property
    def connection(self) -> Connection | None:
        """The transport's connection, once there is one."""
        return self.session.connection if self.session is not None else None

    @property
    def active_streams(self) -> int:
        """How many streams are being served."""
        return self.session.running.active if self.session is not None else 0

    async def run(self) -> Ended:
        """Connect, register and serve until the connection ends. Cancel closes it at once."""
        self.services.emit(Connecting(index=self.plan.index, address=self.plan.address))
        over_quic = self.plan.protocol == QUIC
        self.services.counters.quic_connections += over_quic
        try:
            started = asyncio.get_running_loop().time()
            session = self.session = await self.services.dial(self.plan)
            self.services.reached(self.plan.address, asyncio.get_running_loop().time() - started)
        except ConnectFailed as error:
            return Ended(
                kind=EndKind.UNREACHABLE, reason=error.reason, untrusted=error.untrusted, no_route=error.no_route
            )
        tasks = TaskOwner(self._failed)
        try:
            return await self._serve(session, tasks)
        finally:
            self.services.counters.quic_closed += over_quic
            if self._control is not None:
                self._control.close()
            await self._close(session, tasks)

    async def drain(self, grace_period: float) -> None:
        """Unregister, let requests under way end, and close: as soon as none is left, or after `grace_period` seconds.

        Cancel leaves the connection open; `run` still has to be cancelled then.
        """
        self._draining = True
        session = self.session
        if session is None or self._control is None or self.details is None:
            return
        try:
            async with asyncio.timeout(grace_period):
                await self._unregister(self._control)
                await session.running.wait_idle()
                await session.delivered()
        except TimeoutError:
            left = session.requests_left
            if left > 0:
                requests = "1 request is" if left == 1 else f"{left} requests are"
                self._log.warning("The grace period is over: %s broken off", requests)
        await session.running.abort_all()
        self._control.close()
        session.close()

    def break_off(self) -> None:
        """End the connection at once, as if it had been lost."""
        if self.session is not None:
            self.session.close()

    async def push_local_configuration(self) -> None:
        """Tell the edge the rules in force, where this is connection 0 of a locally managed tunnel (wire.md 5.6).

        A failure is logged and changes nothing. Cancel leaves it unknown whether the edge heard.
        """
        details, control = self.details, self._control
        if details is None or control is None or self.plan.index or details.remotely_managed or self._draining:
            return
        counters = self.services.counters
        counters.config_pushes += 1
        try:
            config = await self.services.orchestrator.local_configuration(self.services.configuration_flags)
            await self._measured("update_local_configuration", control.update_local_configuration(config))
        except RegistrationFailed as error:
            counters.config_push_errors += 1
            # Where the connection is lost, that is said once, by whoever tries again.
            say = self._log.debug if control.has_ended else self._log.warning
            say("The edge did not take the local configuration: %s", error)

    async def _serve(self, session: Session, tasks: TaskOwner) -> Ended:
        try:
            stream = await session.control_stream()
        except TransportError as error:
            return Ended(kind=EndKind.UNREGISTERED, reason=str(error))
        control = self._control = ControlStream(stream, timeout=self.services.rpc_timeout)
        index = self.plan.index
        reader = tasks.spawn(control.read(), name=f"control stream {index}")
        try:
            details = await self._measured("register_connection", control.register(self._registration(session)))
        except RegistrationRefused as error:
            self._count_failure("dup_edge_conn" if error.refusal.duplicate else "server_error")
            return Ended(kind=EndKind.REFUSED, reason=str(error), refusal=error.refusal)
        except RegistrationFailed as error:
            self._count_failure("server_error")
            return Ended(kind=EndKind.UNREGISTERED, reason=str(error))
        self._registered(session, details)
        await self.push_local_configuration()
        reason = await reader
        if self._draining:
            # The edge may end the control stream once it heard; requests under way go on.
            await session.wait_closed()
            return Ended(kind=EndKind.DRAINED, reason="drained")
        session.close()
        info = await session.wait_closed()
        return Ended(kind=EndKind.LOST, reason=info.reason or reason, idle=info.idle)

    def _registered(self, session: Session, details: ConnectionDetails) -> None:
        self.details = details
        self.services.counters.registrations += 1
        session.serve()
        self._log.info(
            "Registered tunnel connection",
            **fields(connection=details.connection_id, location=details.location, protocol=session.protocol),
        )
        self.services.emit(
            Registered(
                index=self.plan.index,
                address=self.plan.address,
                location=details.location,
                connection_id=details.connection_id,
                remotely_managed=details.remotely_managed,
                protocol=session.protocol,
            )
        )

    async def _unregister(self, control: ControlStream) -> None:
        # Before the edge has heard of it: whoever balances by /ready is to look elsewhere from now on.
        self.services.emit(Unregistered(index=self.plan.index))
        try:
            await self._measured("unregister_connection", control.unregister())
        except RegistrationFailed as error:
            self._log.warning("The edge did not confirm that this connection is going away: %s", error)
            return
        self._log.info("Unregistered tunnel connection")

    async def _measured(self, method: str, call: Awaitable[Any]) -> Any:
        calls = self.services.counters.client_call(method)
        started = asyncio.get_running_loop().time()
        calls.operations += 1
        try:
            return await call
        except RegistrationFailed:
            calls.failures += 1
            raise
        finally:
            calls.latency.observe(asyncio.get_running_loop().time() - started)

    def _registration(self, session: Session) -> Registration:
        registration = self.services.identity.registration(self.plan, session.origin_ip)
        session.features = registration.features
        return registration

    def _count_failure(self, error: str) -> None:
        self.services.counters.registrations_failed[error] += 1

    async def _close(self, session: Session, tasks: TaskOwner) -> None:
        await session.running.abort_all()
        session.close()
        await tasks.cancel_all(timeout=CLOSE_TIMEOUT)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await session.wait_closed()
        except TimeoutError:
            self._log.debug("The connection did not end within %g s of being closed", CLOSE_TIMEOUT)

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._log.error("%s failed: %s", task.get_name(), error, exc_info=error)


def features(
    asked_for: tuple[str, ...], *, post_quantum: bool, remote_config: bool = True, management: bool = False
) -> tuple[str, ...]:
    """Return the feature list of a registration: ours, those asked for, without repeats (wire.md 5.3)."""
    ours = (*FEATURES, MANAGEMENT) if management else FEATURES
    names = (*ours, *asked_for, *(("postquantum",) if post_quantum else ()))
    left_out = WITHDRAWN_FEATURES if remote_config else WITHDRAWN_FEATURES | {REMOTE_CONFIG}
    return tuple(dict.fromkeys(name for name in names if name not in left_out))


def with_datagram_v3(names: tuple[str, ...], asked_for: tuple[str, ...]) -> tuple[str, ...]:
    """Return features with version 3 of datagrams, which the edge wants, unless the user asked for either version."""
    return names if {DATAGRAM_V2, DATAGRAM_V3} & {*asked_for} or DATAGRAM_V3 in names else (*names, DATAGRAM_V3)
