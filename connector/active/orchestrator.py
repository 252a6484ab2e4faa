"""Which configuration is in force: the local one, until the edge pushes another (reference/lifecycle.md 6).

A new configuration is built whole, then swapped in between two requests; requests under way keep the origins they
have. What cannot be built is refused and changes nothing. A large one is read beside the event loop, and put together
in small steps, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pyconnector.connector.active.routes import Routes
from pyconnector.connector.active.stream_counts import StreamCounts
from pyconnector.connector.api.errors import ReloadRejected, StartFailed
from pyconnector.connector.background import in_background
from pyconnector.connector.config.model import RemoteConfig
from pyconnector.connector.observe.log import Log, fields
from pyconnector.connector.requests.flow_limiter import FlowLimiter
from pyconnector.connector.requests.guards import LocalAccess
from pyconnector.connector.tasks import TaskOwner
from pyconnector.connector.workers.share import Share
from pyconnector.ingress import IngressError, RemoteConfiguration, local_configuration, parse_remote_configuration
from pyconnector.ingress.config.local_configuration import all_settings
from pyconnector.ingress.config.services import redacted, without_passwords
from pyconnector.ingress.rules.difference import difference

if TYPE_CHECKING:
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.ingress import Ingress, WarpRouting
    from pyconnector.origins import OriginResources
    from pyconnector.origins.layers.base import Layer

#: Version of a configuration that came from this machine.
LOCAL = -1
#: Longest text of a pushed configuration that is logged.
MAX_LOGGED_CHARS = 4096
#: Rules whose JSON is written in less than a millisecond, which is not worth a thread.
FEW_RULES = 100
#: Why a configuration is not applied.
SHUTTING_DOWN = "the connector is shutting down"
NOT_TAKEN = "this connector takes its configuration from its own machine (--no-remote-config)"
STOPPED = "the connector has been stopped"
NOT_STARTED = "the connector has not been started"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to a pushed configuration."""

    latest_version: int
    error: str = ""


class Orchestrator:
    """Holds the rules in force and replaces them as a whole. `routes` is never half of one and half of another."""

    routes: Routes

    def __init__(
        self,
        *,
        resources: OriginResources,
        layers: Sequence[Layer] = (),
        max_active_flows: int | None = None,
        remote: RemoteConfig | None = None,
        counters: Counters,
        on_applied: Callable[[int], None],
    ) -> None:
        self.version = LOCAL
        self.limiter = FlowLimiter()
        self._resources = resources
        self._layers: tuple[Layer, ...] = (*layers, StreamCounts(counters))
        self._max_active_flows = max_active_flows
        self._remote = remote or RemoteConfig()
        self._local_access: LocalAccess | None = None
        self._counters = counters
        self._on_applied = on_applied
        self.share = Share()
        "What is left to this process, where several are one connector."
        self._lock = asyncio.Lock()
        self._closed = False
        self._applying = TaskOwner(self._not_applied)
        self._retiring = TaskOwner(self._not_retired)
        self._log = Log("configuration")

    def __repr__(self) -> str:
        return f"<Orchestrator version={self.version} closed={self._closed}>"

    async def start(self, ingress: Ingress, warp_routing: WarpRouting) -> None:
        """Put the first configuration in force. Cancel leaves nothing started.

        Raises:
            StartFailed: an origin cannot serve, or this was closed meanwhile.
        """
        access = await self._access_of(ingress)
        routes = await self._open(ingress, warp_routing)
        if self._closed:
            await routes.close()
            raise StartFailed(STOPPED)
        self._local_access = access
        self.routes = routes
        self._limit(warp_routing)

    async def apply_local(self, ingress: Ingress, warp_routing: WarpRouting) -> None:
        """Put a re-read local configuration in force. Cancel: it is applied all the same.

        Raises:
            ReloadRejected: an origin cannot serve, or the edge's configuration is in force, or nothing runs here (any
                more); the old one stays.
        """
        await self._to_its_end(self._apply_local(ingress, warp_routing))

    async def apply_remote(self, version: int, config: bytes, *, shared: bool = False) -> Applied:
        """Put a configuration that the edge pushed in force, unless it is no newer. Cancel: it is applied all the same.

        An edge that does not wait for the answer, or whose connection is lost, must leave neither half of a change nor
        origins that nobody closes. The other processes of the connector have it when this returns, but for one that
        was `shared` by them.
        """
        try:
            applied = await self._to_its_end(self._apply_remote(version, config))
        except ReloadRejected:
            return Applied(self.version, SHUTTING_DOWN)
        if not shared and not applied.error and applied.latest_version == version:
            # Outside the lock: another process may share the same one at the same time.
            await self.share.pass_on(version, config)
        return applied

    async def _to_its_end(self, application: Coroutine[Any, Any, _T]) -> _T:
        task = self._applying.spawn(application, name="configuration")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`, and not whoever waits here
                raise ReloadRejected(STOPPED) from None
            raise

    async def _apply_local(self, ingress: Ingress, warp_routing: WarpRouting) -> None:
        async with self._lock:
            if self._closed or not hasattr(self, "routes"):
                raise ReloadRejected(STOPPED if self._closed else NOT_STARTED)
            try:
                access = await self._access_of(ingress)
                if self.version != LOCAL:
                    self._local_access = self.routes.local_access = access
                    used = "of the local rules only access counts" if access else "the local rules are not used"
                    raise ReloadRejected(f"the edge's configuration (version {self.version}) is in force; {used}")
                before = self.routes
                await self._swap(ingress, warp_routing)
                self._local_access = access
            except StartFailed as error:
                raise ReloadRejected(str(error)) from error
        self._on_applied(LOCAL)
        await self._tell_difference(before, ingress, warp_routing)

    async def _tell_difference(self, before: Routes, ingress: Ingress, warp_routing: WarpRouting) -> None:
        """Log what a reload changed, in words."""

        def found() -> list[str]:
            return difference(before.ingress, ingress, before.warp_routing, warp_routing)

        few = len(before.routes) + len(ingress.rules) <= FEW_RULES
        for change in found() if few else await in_background(found):
            self._log.info("Configuration: %s", change)

    async def _apply_remote(self, version: int, config: bytes) -> Applied:
        async with self._lock:
            if self._closed:
                return Applied(self.version, SHUTTING_DOWN)
            if self._remote.refuse:
                self._log.warning("Refused a pushed configuration: %s", NOT_TAKEN, **fields(version=version))
                return Applied(self.version, NOT_TAKEN)
            if version <= self.version:
                return Applied(self.version)
            try:
                parsed, text = await in_background(functools.partial(_read, config))
                await self._swap(parsed.ingress, parsed.warp_routing, local_access=self._local_access)
            except (IngressError, StartFailed) as error:
                reason = str(error) or type(error).__name__
                self._log.error("Refused a pushed configuration: %s", reason, **fields(version=version))
                return Applied(self.version, reason)
            self.version = self._counters.config_version = version
        self._log.info("Updated to new configuration", **fields(version=version, config=text))
        self._on_applied(version)
        return Applied(version)

    async def local_configuration(self, flags: Sequence[tuple[str, str]]) -> bytes:
        """The JSON that a locally managed tunnel tells the edge (wire.md 5.6). Cancel at any time."""
        routes = self.routes

        def written() -> bytes:
            value = local_configuration(routes.ingress, routes.warp_routing, dict(flags))
            return json.dumps(value, separators=(",", ":")).encode()

        return await in_background(written) if len(routes.routes) > FEW_RULES else written()

    async def shown_configuration(self) -> bytes:
        """The rules in force with every setting, as JSON for the page /config (reference/lifecycle.md 8).

        Cancel at any time.
        """
        version, routes = self.version, self.routes

        def written() -> bytes:
            return json.dumps({"version": version, "config": _shown(routes)}, separators=(",", ":")).encode()

        return await in_background(written) if len(routes.routes) > FEW_RULES else written()

    async def close(self) -> None:
        """Release the origins and accept no more configurations; one that is being applied is given up.

        Cancel leaves some open. Idempotent.
        """
        if not self._closed:
            self._closed = True
            await self._applying.cancel_all()
            await self._retiring.wait_all()
            if hasattr(self, "routes"):
                await self.routes.close()

    async def _open(self, ingress: Ingress, warp_routing: WarpRouting) -> Routes:
        return await Routes.open(ingress, warp_routing, resources=self._resources, layers=self._layers)

    async def _access_of(self, ingress: Ingress) -> LocalAccess | None:
        """Return what the local rules demand, where it is kept. Raises StartFailed where that cannot be checked."""
        return await LocalAccess.of(ingress, self._layers) if self._remote.keep_access else None

    async def _swap(
        self, ingress: Ingress, warp_routing: WarpRouting, *, local_access: LocalAccess | None = None
    ) -> None:
        fresh = await self._open(ingress, warp_routing)
        fresh.local_access = local_access
        old, self.routes = self.routes, fresh
        self._limit(warp_routing)
        # A task of its own: whatever becomes of this one, the old origins are closed to the last.
        await asyncio.shield(self._retiring.spawn(old.close(), name="old configuration"))

    def _not_applied(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._log.debug("%s was not applied: %s", task.get_name(), error)

    def _not_retired(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._log.error("%s could not be let go of: %s", task.get_name(), error, exc_info=error)

    def _limit(self, warp_routing: WarpRouting) -> None:
        own = self._max_active_flows
        self.limiter.limit = self.share.of_flows(warp_routing.max_active_flows if own is None else own)


def _read(config: bytes) -> tuple[RemoteConfiguration, str]:
    """Return a pushed configuration and what the log may show of it."""
    parsed = parse_remote_configuration(config)
    try:
        text = json.dumps(without_passwords(json.loads(config)), separators=(",", ":"))
    except RecursionError:
        text = "nested too deeply to be shown"
    return parsed, text[:MAX_LOGGED_CHARS]


def _shown(routes: Routes) -> dict[str, Any]:
    rules = [
        {
            "hostname": rule.hostname,
            "path": rule.path or None,
            **({"identity": list(rule.identity)} if rule.identity else {}),
            "service": redacted(rule.service),
            "originRequest": all_settings(rule.settings),
        }
        for rule in routes.ingress.rules
    ]
    warp_routing = local_configuration(routes.ingress, routes.warp_routing)["warp-routing"]
    return {"ingress": rules, "warp-routing": warp_routing}
