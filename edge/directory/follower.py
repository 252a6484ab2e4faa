"""Keeps the Directory up to date: the cached snapshot first, then the control plane's, then each change as it happens.

Whenever the control plane is away the edge goes on with what it has; the snapshot is taken anew once it is back, since
a database that was restored meanwhile would count its changes from elsewhere.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from typing import TYPE_CHECKING, Any

from pyconnector.edge.access.state import AccessState
from pyconnector.edge.audit.jobs import LogpushJobs
from pyconnector.edge.audit.reported import Reported
from pyconnector.edge.connectors.configuration import push_kept
from pyconnector.edge.connectors.unknown import UnknownTunnels
from pyconnector.edge.directory import cache
from pyconnector.edge.directory.client import ControlClient, Gone, Unreachable
from pyconnector.edge.directory.directory import Directory
from pyconnector.edge.directory.reporter import Reporter
from pyconnector.edge.directory.values import DirectoryError, parse_changes, parse_snapshot
from pyconnector.edge.tasks import TaskSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.connectors.registry import Connectors
    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels
    from pyconnector.edge.directory.values import PeerEntry
    from pyconnector.edge.mesh.identity import MeshIdentity
    from pyconnector.edge.settings import DirectorySettings

#: Seconds between attempts to reach a control plane that is away, at first and at most.
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0
#: Seconds from a change to the file: what changes at once is written once.
SAVE_AFTER = 1.0

_log = logging.getLogger("pyconnector.edge")


class Follower:
    """Follows one control plane from `start` to `close`."""

    def __init__(
        self,
        settings: DirectorySettings,
        tunnels: Tunnels,
        connectors: Connectors,
        access: AccessState | None = None,
        reported: Reported | None = None,
    ) -> None:
        access = access or AccessState()
        reported = reported or Reported(time.monotonic, LogpushJobs())
        self._settings = settings
        self._client = ControlClient(settings.url, settings.token)
        self._reporter = Reporter(self._client, connectors, settings.name, access, reported)
        self.directory = Directory(tunnels, self._push, self._reporter.wake, access, reported.jobs)
        self._tunnels = tunnels
        self._tunnels.complete = self.connected = False
        self._tunnels.unknown = UnknownTunnels()
        self._as_of: datetime.datetime | None = None
        self._tasks = TaskSet()
        self._pushing: set[Tunnel] = set()
        self._saving: asyncio.Task[None] | None = None
        self._first = asyncio.Event()

    async def start(self, address: str) -> None:
        """Load the cached snapshot, follow, and report as an edge that connectors reach at `address`.

        Returns once there is a snapshot, or the control plane was found away. Cancel leaves it to `close`.
        """
        await self._load()
        self._tasks.start(self._follow(), "edge directory")
        self._tasks.start(self._reporter.run(address), "edge report")
        await self._first.wait()

    def announce(self, *, visitors: str | None = None, peer: str | None = None) -> None:
        """Tell the control plane where visitors are served (a URL without a path), or other edges (HOST:PORT)."""
        self._reporter.announce(visitors=visitors, peer=peer)

    def tell_peers(self, on_peers: Callable[[tuple[PeerEntry, ...]], None]) -> None:
        """Let `on_peers` be told of the other edges, again and again."""
        self._reporter.on_peers = on_peers

    async def login_count(self, key: str, limit: int, seconds: int) -> bool | None:
        """See `ControlClient.login_count`."""
        return await self._client.login_count(key, limit, seconds)

    async def identity(self) -> MeshIdentity:
        """Return what this edge is known by. Cancel gives it up.

        Raises:
            SettingsError: the control plane gives none, and none is kept.
        """
        from pyconnector.edge.mesh.identity import obtain

        cached = self._settings.cache
        return await obtain(self._client, None if cached is None else cached.with_name(f"{cached.name}.identity"))

    async def drain(self) -> None:
        """Say that this edge is about to stop: others ask it last. Cancel leaves that to the next report."""
        await self._reporter.drain()

    async def leave(self) -> None:
        """Say that this edge takes nothing more: others stop coming. Cancel leaves that to be found out."""
        await self._tasks.cancel_all()
        await self._reporter.leave()

    async def close(self) -> None:
        """Report that the edge leaves, keep the snapshot, and stop. Idempotent. Cancel leaves the file as it was."""
        await self._tasks.cancel_all()
        await self._reporter.leave()
        if self._saving is not None:
            self._saving = None
            await self._save()
        await self._client.close()

    def describe(self) -> dict[str, object]:
        """Return how old what the edge knows is, for its debug API."""
        now = datetime.datetime.now(datetime.UTC)
        age = None if self._as_of is None else 0.0 if self.connected else (now - self._as_of).total_seconds()
        return {"connected": self.connected, "number": self.directory.number, "age_seconds": age}

    async def _load(self) -> None:
        path = self._settings.cache
        if path is None:
            return
        try:
            loaded = await asyncio.to_thread(cache.load, path)
            if loaded is None:
                return
            number, objects, self._as_of = loaded
            await self._take(number, objects)
        except DirectoryError as error:
            _log.warning("The cached snapshot is not used: %s", error)
            return
        _log.info("Took the cached snapshot of %s", self._as_of.isoformat(timespec="seconds"))

    async def _follow(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._take_snapshot()
                pause = FIRST_PAUSE
                while True:
                    await self._take_changes()
            except Gone:
                pass
            except (Unreachable, DirectoryError) as error:
                if self.connected or not self._first.is_set():
                    _log.warning("Going on with what is known%s: %s", self._known_since(), error)
                self._tunnels.complete = self.connected = False
            self._first.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _known_since(self) -> str:
        if self._as_of is None:
            return " (nothing yet)"
        return f" as of {self._as_of.isoformat(timespec='seconds')}"

    async def _take_snapshot(self) -> None:
        number, objects = parse_snapshot(await self._client.snapshot())
        before = self.directory.number
        await self._take(number, objects)
        self._heard()
        if before != number:
            self._save_soon()
        self._first.set()

    async def _take(self, number: int, objects: dict[str, dict[str, Any]]) -> None:
        for _ in self.directory.snapshot_steps(number, objects):
            await asyncio.sleep(0)

    async def _take_changes(self) -> None:
        changes = parse_changes(await self._client.changes(self.directory.number))
        self.directory.take_changes(changes)
        self._heard()
        if changes:
            self._save_soon()

    def _heard(self) -> None:
        if not self.connected:
            counts = {kind: len(self.directory.objects[kind]) for kind in ("tunnel", "name")}
            _log.info("Following the control plane: %d tunnels, %d hostnames", counts["tunnel"], counts["name"])
        self._tunnels.complete = self.connected = True
        self._as_of = datetime.datetime.now(datetime.UTC)

    # -- the file ------------------------------------------------------------------------------------------------

    def _save_soon(self) -> None:
        if self._settings.cache is not None and (self._saving is None or self._saving.done()):
            self._saving = self._tasks.start(self._save_later(), "edge directory cache")

    async def _save_later(self) -> None:
        await asyncio.sleep(SAVE_AFTER)
        await self._save()

    async def _save(self) -> None:
        path = self._settings.cache
        if path is None:
            return
        objects = {kind: dict(held) for kind, held in self.directory.objects.items()}
        moment = self._as_of or datetime.datetime.now(datetime.UTC)
        try:
            await asyncio.to_thread(cache.save, path, self.directory.number, objects, moment)
        except OSError as error:
            _log.warning("The snapshot cannot be kept in %s: %s", path, error.strerror or error)

    # -- configurations ------------------------------------------------------------------------------------------

    def _push(self, tunnel: Tunnel) -> None:
        """Push a new configuration to the tunnel's connectors: one push at a time, and always the newest."""
        if tunnel not in self._pushing:
            self._pushing.add(tunnel)
            self._tasks.start(self._push_newest(tunnel), f"edge configuration of {tunnel.tunnel_id}")

    async def _push_newest(self, tunnel: Tunnel) -> None:
        version = -1
        try:
            while version != tunnel.configuration_version:
                version = tunnel.configuration_version
                await push_kept(tunnel)
        finally:
            self._pushing.discard(tunnel)
            self._reporter.wake()
