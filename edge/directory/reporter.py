"""Tells the control plane which connections this edge holds: when they change, and regularly as a sign of life."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from pyconnector.edge.directory.client import Gone, Unreachable
from pyconnector.edge.directory.values import DirectoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.access.state import AccessState
    from pyconnector.edge.audit.reported import Reported
    from pyconnector.edge.connectors.connection import EdgeConnection
    from pyconnector.edge.connectors.registry import Connectors
    from pyconnector.edge.directory.client import ControlClient
    from pyconnector.edge.directory.values import PeerEntry

#: Seconds between reports where nothing changes. The control plane takes an edge for dead after 5.
EVERY = 1.0
#: Seconds after a change in which others are waited for: four connections of a connector come together.
TOGETHER = 0.05
#: Seconds for the last report.
LEAVE_TIMEOUT = 2.0
_FAILURES = (Unreachable, Gone, DirectoryError)

_log = logging.getLogger("pyconnector.edge")


class Reporter:
    """Reports for one life of an edge: `id` is new at each start."""

    def __init__(
        self, client: ControlClient, connectors: Connectors, name: str, access: AccessState, reported: Reported
    ) -> None:
        self.id = str(uuid.uuid4())
        self._client = client
        self._connectors = connectors
        self._name = name
        self._access = access
        self._requests = reported
        self._address = self._visitors = self._peer = ""
        self.on_peers: Callable[[tuple[PeerEntry, ...]], None] | None = None
        "Told of the other edges after each report."
        self._wake = asyncio.Event()
        access.news.on_news = self.wake
        self._reported = False
        self._draining = False
        self._told_draining = asyncio.Event()

    def wake(self) -> None:
        """Report soon."""
        self._wake.set()

    def announce(self, *, visitors: str | None = None, peer: str | None = None) -> None:
        """Say where visitors, or other edges, are served from now on."""
        self._visitors = self._visitors if visitors is None else visitors
        self._peer = self._peer if peer is None else peer
        self.wake()

    async def run(self, address: str) -> None:
        """Report until cancelled."""
        self._address = address
        while True:
            self._wake.clear()
            report = self._report(leaving=False)
            news = self._tell_news(report)
            try:
                close, peers = await self._client.report(report)
                self._reported = True
            except _FAILURES as error:
                _log.debug("A report was not taken: %s", error)
                self._access.give_back(report["used_tokens"], asyncio.get_running_loop().time())
                self._requests.give_back(report)
                self._access.news.give_back(*news)
            else:
                if "draining" in report:
                    self._told_draining.set()
                if self.on_peers is not None:
                    self.on_peers(peers)
                for connection_id in close:
                    self._close(connection_id)
            try:
                async with asyncio.timeout(EVERY):
                    await self._wake.wait()
                await asyncio.sleep(TOGETHER)
            except TimeoutError:
                continue

    async def drain(self) -> None:
        """Report that this edge is about to stop, now and from now on. Cancel leaves that to the next report."""
        self._draining = True
        self.wake()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self._told_draining.wait()
        except TimeoutError:
            _log.warning("The control plane does not know yet that this edge drains")

    async def leave(self) -> None:
        """Report that this edge is gone, if it was ever there. Cancel leaves that to be found out."""
        if not self._reported:
            return
        self._reported = False
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self._client.report(self._report(leaving=True))
        except (*_FAILURES, TimeoutError):
            pass  # it will be taken for dead a few seconds later

    def _report(self, *, leaving: bool) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        held = [] if leaving else [
            _told(connection, now) for connection in self._connectors.all() if connection.state == "registered"
        ]  # fmt: skip
        return {
            "id": self.id, "name": self._name, "address": self._address, "visitors": self._visitors, "peer": self._peer,
            "leaving": leaving, "connections": held, "used_tokens": self._access.take_used(now),
            **self._requests.take(),
            # A control plane of before takes no field that it does not know.
            **({"draining": True} if self._draining else {}),
        }  # fmt: skip

    def _tell_news(self, report: dict[str, Any]) -> tuple[dict[str, tuple[str, float]], dict[str, float]]:
        """Put what happened to people into a report; return it, for the case that the report is not taken."""
        logins, ended = self._access.news.take()
        ticks, now = time.monotonic(), time.time()  # noqa: TID251 - sessions end at dates
        if logins:
            report["logins"] = [
                {"email": email, "name": name, "age": max(0.0, ticks - moment)}
                for email, (name, moment) in logins.items()
            ]
        if ended:
            report["ended_sessions"] = {nonce: max(0.0, expires - now) for nonce, expires in ended.items()}
        return logins, ended

    def _close(self, connection_id: str) -> None:
        try:
            connection = self._connectors.get(uuid.UUID(connection_id))
        except ValueError:
            return
        if connection is not None:
            connection.close("the tunnel was deleted")


def _told(connection: EdgeConnection, now: float) -> dict[str, Any]:
    registration = connection.registration
    return {
        "id": str(connection.connection_id),
        "tunnel_id": str(registration.tunnel_id),
        "client_id": str(registration.client_id),
        "client_version": _plain(registration.version),
        "arch": _plain(registration.arch),
        "features": [_plain(feature) for feature in registration.features[:100]],
        "position": registration.connection_index,
        "origin_ip": str(connection.transport.peer_address[0]),
        "location": connection.location,
        "configuration_version": connection.applied_version,
        "age": max(0.0, now - connection.registered_at),
    }


def _plain(text: str) -> str:
    # A connector may say anything of itself.
    return "".join(character for character in text[:200] if character.isprintable())
