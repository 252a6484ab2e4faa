"""Which edges connectors are sent to: those that live and do not drain, as the database said a moment ago."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import socket
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from pyconnector.control.discovery.records import MAX_EDGES, EdgeAddress
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.models import Edge
from pyconnector.control.store.objects.live import EDGE_LIFETIME

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database

#: Seconds for which what the database said is taken for true.
FRESH = 1.0
#: Seconds that looking up the name of an edge may take.
LOOK_UP_TIMEOUT = 2.0

_log = logging.getLogger("pyconnector.control")


class KnownEdges:
    """The edges, asked for at most once in `FRESH`; with the database away those that were known last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: list[EdgeAddress] = []
        self._as_of: float | None = None
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<KnownEdges {len(self._known)}>"

    async def get(self) -> list[EdgeAddress]:
        """Return them. Cancel leaves what was known."""
        async with self._asking:
            if self._as_of is None or time.monotonic() - self._as_of >= FRESH:
                try:
                    self._known = await self._read()
                except StoreUnavailable as error:
                    _log.warning("Connectors are told the edges of before: %s", error)
                self._as_of = time.monotonic()
            return self._known

    async def _read(self) -> list[EdgeAddress]:
        async with self._database.read() as session:
            oldest = self._database.now() - datetime.timedelta(seconds=EDGE_LIFETIME)
            rows = await session.execute(select(Edge).where(Edge.seen_at >= oldest).order_by(Edge.name, Edge.id))
            texts = [edge.address for edge in rows.scalars() if edge.address and not edge.about.get("draining")]
        found = await asyncio.gather(*map(_addresses, texts[:MAX_EDGES]))
        return [address for addresses in found for address in addresses]


async def _addresses(text: str) -> list[EdgeAddress]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return []
    try:
        return [EdgeAddress(str(ipaddress.ip_address(host)), int(port))]
    except ValueError:
        pass
    try:
        async with asyncio.timeout(LOOK_UP_TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [EdgeAddress(str(entry[4][0]), int(port)) for entry in found if "%" not in str(entry[4][0])]
