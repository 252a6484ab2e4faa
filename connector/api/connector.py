"""The embedding API: `async with Connector(config) as c: await c.wait_ready(); ...; await c.drain()`.

A Connector takes no signals, touches no root logger and no event loop policy. Several live in one process. The command
line is a thin caller of this.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from pyconnector.connector.active.orchestrator import Orchestrator
from pyconnector.connector.api.authority import check_authority
from pyconnector.connector.api.companions import companions
from pyconnector.connector.api.errors import ConnectorError, RegistrationRefused, StartFailed
from pyconnector.connector.api.events import ConfigurationApplied, ConnectionInfo, Event
from pyconnector.connector.api.statistics import ConnectorStatistics
from pyconnector.connector.api.switching import Switching
from pyconnector.connector.api.tracker import ConnectionTracker
from pyconnector.connector.config.model import changed_connections
from pyconnector.connector.discovery.addresses import find_edge
from pyconnector.connector.discovery.patience import find_again
from pyconnector.connector.link.dialing import quic_dialer
from pyconnector.connector.link.edge_connection import EdgeConnection, Identity, Services, features
from pyconnector.connector.link.engine_choice import EngineChoice
from pyconnector.connector.link.http2.dialing import http2_dialer
from pyconnector.connector.link.paths.network_watch import NetworkWatch
from pyconnector.connector.link.protocol_choice import choice_for
from pyconnector.connector.link.reconnect.backoff import Backoff
from pyconnector.connector.link.reconnect.supervisor import Reach, Supervisor
from pyconnector.connector.link.session_factory import SessionFactory
from pyconnector.connector.management.access import management_of
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log, fields
from pyconnector.connector.observe.log_taps import as_itself
from pyconnector.connector.observe.observer import combined
from pyconnector.connector.observe.rule_metrics import RuleMetrics
from pyconnector.connector.observe.server.metrics_server import MetricsServer
from pyconnector.connector.observe.server.status_pages import status_pages
from pyconnector.connector.tasks import TaskOwner
from pyconnector.connector.version import architecture, version
from pyconnector.connector.workers.share import Share
from pyconnector.origins import OriginResources
from pyconnector.origins.dns.virtual import VirtualDns
from pyconnector.origins.layers.access.layer import AccessLayer
from pyconnector.protocol.http.headers import canonical_name
from pyconnector.protocol.rpc.registration import Refusal

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.datagrams.carrier import DatagramCarrier, DatagramLink
    from pyconnector.connector.discovery.address_book import AddressBook
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.origins.layers.base import Layer
    from pyconnector.transport.seam import Connection

#: Header that tells origins which connector a request came through (ingress.md 7).
ID_HEADER = b"Cf-Warp-Tag-Id"
TAG_HEADER_PREFIX = b"Cf-Warp-Tag-"


class Connector:
    """Carries requests from an edge to local services until it is drained or left.

    `on_event` is told what happens (`connector.api.events`), from the event loop. `layers` stand around the
    origin of every rule (`origins.layers.base`), the first of them outermost, behind the check of Access tokens.
    `observers` are told of every request (`connector.observe.observer`); where `config` has a metrics address, those of
    rules are counted too (`RuleMetrics`). `fetch_access_keys` is given the URL of a team's keys and returns the
    document, in place of asking the team over HTTPS; it raises where it cannot. `share` is for the
    workers of `pyconnector run`: what is left to this process.
    """

    def __init__(
        self,
        config: ConnectorConfig,
        *,
        on_event: Callable[[Event], None] | None = None,
        layers: Sequence[Layer] = (),
        observers: Sequence[Observer] = (),
        fetch_access_keys: Callable[[str], Awaitable[bytes]] | None = None,
        share: Share | None = None,
    ) -> None:
        self.config = config
        self._share = share or Share()
        self.connector_id = self._share.connector_id or uuid.uuid4()
        self.counters = Counters()
        self.tracker = ConnectionTracker()
        self._on_event = on_event
        self._rules = next((observer for observer in observers if isinstance(observer, RuleMetrics)), None)
        if self._rules is None and config.metrics is not None:
            self._rules = RuleMetrics()
            observers = (*observers, self._rules)
        self._observer = combined(observers)
        self._access = AccessLayer(fetch_access_keys or _fetch_access_keys)
        self._virtual_dns = VirtualDns(
            config.private.dns_resolvers, time=time.monotonic, counted=self.counters.datagrams.dns_requests
        )
        self._orchestrator = Orchestrator(
            resources=OriginResources(virtual_dns=self._virtual_dns),
            layers=(self._access, *(observer.layer for observer in observers if observer.layer is not None), *layers),
            max_active_flows=config.max_active_flows,
            remote=config.remote,
            counters=self.counters,
            on_applied=self._applied,
        )
        self._orchestrator.share = self._share
        registered = features(
            config.features,
            post_quantum=config.edge.post_quantum,
            remote_config=not config.remote.refuse,
            management=config.management.enabled,
        )
        self._switching = Switching(config, registered)
        self._datagrams: DatagramCarrier | None = None
        self.metrics_server = MetricsServer(status_pages(self, self._orchestrator))
        self._random = random.Random()
        self._engine = EngineChoice(config.edge.quic)
        self._management = management_of(self, status_pages(self, self._orchestrator)["/metrics"], self._share)
        self._supervisor: Supervisor | None = None
        self._running: asyncio.Task[None] | None = None
        self._begun = self._stopped = False
        self._tasks = TaskOwner(self._failed)
        self._failure: ConnectorError | None = None
        self._log = Log("connector")

    def __repr__(self) -> str:
        tunnel = self.config.credentials.tunnel_id
        return f"<Connector {self.connector_id} tunnel={tunnel} connected={self.tracker.connected}>"

    async def __aenter__(self) -> Connector:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # -- life ------------------------------------------------------------------------------------------------------

    @as_itself
    async def start(self, *, wait_for_edge: bool = False) -> None:
        """Start origins and begin to connect. Cancel stops what was started.

        With `wait_for_edge` an edge whose name cannot be looked up is looked up again, after growing waits, until it
        is found: a machine that starts may have no network yet.

        Raises:
            StartFailed: an origin, the metrics address, the edge's authority or every edge address cannot be used, or
                `stop` was called meanwhile.
        """
        if self._begun:
            raise StartFailed("a Connector is started once")
        self._begun = True
        config = self.config
        try:
            check_authority(config.edge.ca_file)
            await self._orchestrator.start(config.ingress, config.warp_routing)
            if self._share.pushed is not None:
                await self.apply_pushed(*self._share.pushed)
            if config.metrics is not None:
                await self.metrics_server.start(config.metrics)
            book = await self._look_up(wait=wait_for_edge)
            if self._stopped:
                raise StartFailed("the connector was stopped while it started")
        except BaseException:
            await self._release()
            raise
        indices = self._share.indices(config.lifecycle.ha_connections)
        count = book.capacity(len(indices))
        if count < len(indices):
            self._log.info("The edge has addresses for %d connections only", count)
        self._log.info(
            "Starting tunnel", **fields(tunnelID=config.credentials.tunnel_id, connectorID=self.connector_id)
        )
        self._network = NetworkWatch()
        reach = Reach(book, choice_for(config, book.addresses, self._switching.switches))
        services = self._services(book)
        self._supervisor = Supervisor(
            indices=indices[:count],
            reach=reach,
            make_attempt=lambda plan: EdgeConnection(plan, services),
            make_backoff=self._make_backoff,
            tracker=self.tracker,
            emit=self._emit,
        )
        self._running = self._tasks.spawn(self._run(self._supervisor, self._network), name="supervisor")
        self._running.add_done_callback(lambda _: self.tracker.wake())
        for name, work in companions(config, self._supervisor, reach, self._engine, self._network):
            self._beside(self._running, work, name)
        following = self._switching.follow(services.identity, reach.choice, random=self._random.random)
        self._beside(self._running, following, "switches of the provider")

    async def wait_ready(self, connections: int = 1) -> None:
        """Wait until `connections` connections are registered. Cancel at any time.

        Raises:
            RegistrationRefused: the edge refused for good while nothing was connected.
            ConnectorError: the Connector ended.
        """
        while self.tracker.connected < connections:
            refused = self.tracker.refused
            if refused is not None:
                raise RegistrationRefused(Refusal(cause=refused.cause, retry_after=0.0, should_retry=False))
            self._raise_failure()
            if self._running is None or self._running.done():
                raise ConnectorError("the connector is not running")
            await self.tracker.wait_change()

    async def wait_closed(self) -> None:
        """Wait until the Connector ended. Cancel at any time.

        Raises:
            ConnectorError: it ended because of a failure.
        """
        if self._running is not None:
            await asyncio.wait((self._running,))
        self._raise_failure()

    @as_itself
    async def drain(self, grace_period: float | None = None) -> None:
        """Unregister every connection, let requests under way end, and close.

        Returns as soon as nothing is under way, or after `grace_period` seconds (the configured ones by default), when
        what is left is broken off. Cancel leaves the Connector running without new requests: `stop` ends it.
        """
        if self._supervisor is None or self._running is None:
            return
        grace = self.config.lifecycle.grace_period if grace_period is None else grace_period
        if self._management is not None:
            self._management.end()
        await self._supervisor.drain(grace)
        await asyncio.wait((self._running,))

    async def stop(self) -> None:
        """Close everything at once; requests under way are broken off. Cancel leaves some open. Idempotent.

        Nothing can be started or reloaded afterwards.
        """
        self._begun = self._stopped = True
        await self._tasks.cancel_all()
        self.tracker.wake()
        await self._release()

    @as_itself
    async def reload(self, config: ConnectorConfig) -> None:
        """Put the rules of `config` in force; requests under way keep the old ones. What concerns the connections
        themselves needs a new Connector and is only logged. Cancel: the new rules come into force all the same.

        Raises:
            ReloadRejected: they cannot be used, or the Connector does not run; the old ones stay in force.
        """
        for name in changed_connections(self.config, config):
            self._log.warning("A change of %s takes effect after a restart", name)
        await self._orchestrator.apply_local(config.ingress, config.warp_routing)
        if self._supervisor is not None:
            await self._supervisor.push_local_configuration()

    async def apply_pushed(self, version: int, config: bytes) -> str:
        """Put a configuration in force that the edge pushed to another process of this connector, unless it is no
        newer. Return why it was not applied, or "". Cancel: it is applied all the same.
        """
        return (await self._orchestrator.apply_remote(version, config, shared=True)).error

    async def shown_configuration(self) -> bytes:
        """The rules in force with every setting, as JSON. Cancel at any time."""
        return await self._orchestrator.shown_configuration()

    # -- looking in ------------------------------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """Every connection, as it is now."""
        return tuple(info for _, info in sorted(self.tracker.connections.items()))

    @functools.cached_property
    def registry(self) -> CollectorRegistry:
        """The Prometheus registry of this Connector, made when it is first asked for."""
        from pyconnector.connector.observe.metrics import (  # its library costs 5 MB and a start-up delay
            ConnectorCollector,
            make_registry,
        )

        return make_registry(ConnectorCollector(self.counters, self.tracker, self.edge_connections, self._rules))

    def statistics(self) -> ConnectorStatistics:
        """Figures as they are now."""
        counters = self.counters
        return ConnectorStatistics(
            connected=self.tracker.connected,
            active_requests=counters.concurrent_requests,
            total_requests=counters.total_requests,
            request_errors=counters.request_errors,
            configuration_version=self._orchestrator.version,
        )

    # -- wiring ----------------------------------------------------------------------------------------------------

    def _services(self, book: AddressBook) -> Services:
        config = self.config
        identity = Identity(
            credentials=config.credentials,
            client_id=self.connector_id,
            features=self._switching.features,
            version=version(),
            arch=architecture(),
        )
        headers = [(canonical_name(TAG_HEADER_PREFIX + n.encode()), v.encode()) for n, v in config.tags]
        headers.append((ID_HEADER, str(self.connector_id).encode("ascii")))
        sessions = SessionFactory(
            orchestrator=self._orchestrator,
            counters=self.counters,
            added_headers=headers,
            rpc_timeout=config.lifecycle.rpc_timeout,
            dial_quic=quic_dialer(config.edge, self._engine, self._network),
            make_datagrams=self._make_datagrams,
            dial_http2=http2_dialer(config.edge, self._network),
            observer=self._observer,
            management=self._management,
            write_timeout=config.lifecycle.write_stream_timeout,
        )
        return Services(
            identity=identity,
            dial=sessions.connect,
            orchestrator=self._orchestrator,
            counters=self.counters,
            emit=self._emit,
            reached=book.reached,
            configuration_flags=config.configuration_flags,
            rpc_timeout=config.lifecycle.rpc_timeout,
        )

    def _make_datagrams(self, index: int, connection: Connection, features: Sequence[str]) -> DatagramLink:
        if self._datagrams is None:
            from pyconnector.connector.datagrams.carrier import DatagramCarrier  # only where an edge carries UDP

            self._datagrams = DatagramCarrier(
                limiter=self._orchestrator.limiter,
                counters=self.counters.datagrams,
                rpc_timeout=self.config.lifecycle.rpc_timeout,
                virtual_dns=self._virtual_dns,
                icmp_sources=(self.config.private.icmpv4_source, self.config.private.icmpv6_source),
            )
        return self._datagrams.attach(index, connection, features)

    async def _run(self, supervisor: Supervisor, network: NetworkWatch) -> None:
        network.open()
        try:
            with network.subscribe(supervisor.network_changed):
                await supervisor.run()
        finally:
            network.close()

    def reconnect(self, delay: float = 0.0) -> bool:
        """Break one connection off, and make it again after `delay` seconds at least; False where none is registered.

        For tests of what is around: requests on it are lost.
        """
        return self._supervisor is not None and self._supervisor.reconnect(delay)

    def edge_connections(self) -> dict[int, Connection]:
        """The transport's connections there are, by index."""
        return self._supervisor.connections() if self._supervisor is not None else {}

    def _applied(self, version: int) -> None:
        self._emit(ConfigurationApplied(version=version))

    def _emit(self, event: Event) -> None:
        self.tracker.observe(event)
        callback = self._on_event
        if callback is None:
            return
        try:
            callback(event)
        except Exception as error:  # noqa: BLE001 - it is the program's own; whoever waits for the Connector is told
            self._on_event = None
            name = getattr(callback, "__qualname__", type(callback).__qualname__)
            self._end(f"on_event ({name}) raised {type(error).__name__}: {error}", error)

    def _beside(self, running: asyncio.Task[None], work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.spawn(work, name=name)
        running.add_done_callback(lambda _: task.cancel())

    async def _release(self) -> None:
        await self.metrics_server.close()
        await self._orchestrator.close()
        await self._access.close()

    async def _look_up(self, *, wait: bool) -> AddressBook:
        """Find the edge, and what the provider's DNS switches for it."""
        looking = asyncio.ensure_future(self._switching.look_up())
        try:
            book = await find_again(self._find_edge, self._make_backoff(), wait=wait, is_stopped=lambda: self._stopped)
            await looking
        finally:
            looking.cancel()
        return book

    async def _find_edge(self) -> AddressBook:
        share = self._share
        return await find_edge(self.config.edge, choose=share.choose or self._random.choice, share=share.regions)

    def _make_backoff(self) -> Backoff:
        return Backoff(random=self._random.random, max_retries=self.config.lifecycle.retries)

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):  # of a task group: what happened is in there
            error = error.exceptions[0]
        self._end(f"{task.get_name()}: {type(error).__name__}: {error}", error)

    def _end(self, reason: str, error: BaseException) -> None:
        """End the Connector because of a defect, in it or in the program around it."""
        if self._failure is None:
            self._failure = ConnectorError(f"the connector failed: {reason}")
            self._failure.__cause__ = error
            self._log.critical("%s", self._failure, exc_info=error)
        if self._running is not None:
            self._running.cancel()
        self.tracker.wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _fetch_access_keys(url: str) -> bytes:
    from pyconnector.connector.access_keys import fetch_https  # only where a rule demands access

    return await fetch_https(url)
