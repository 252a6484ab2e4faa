"""Which connections are up, kept from the events of one Connector. Read by logs, `/ready`, metrics and `wait_ready`."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from pyconnector.connector.api.events import (
    ConfigurationApplied,
    Connecting,
    ConnectionInfo,
    ConnectionState,
    Disconnected,
    Event,
    Reconnecting,
    Refused,
    Registered,
    Unregistered,
)


class ConnectionTracker:
    """The state of every connection index, from events alone."""

    def __init__(self) -> None:
        self.connections: dict[int, ConnectionInfo] = {}
        self.locations: dict[int, Counter[str]] = {}
        "By index: each location the index was connected to, 1 for the current one."
        self.refused: Refused | None = None
        "A permanent refusal, while nothing is connected."
        self._changed: set[asyncio.Future[None]] = set()

    @property
    def connected(self) -> int:
        """How many connections the edge sends requests to."""
        return sum(info.state is ConnectionState.REGISTERED for info in self.connections.values())

    @property
    def running(self) -> int:
        """How many connections are up, being made, or waited for."""
        return sum(info.state is not ConnectionState.CLOSED for info in self.connections.values())

    def observe(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, ConfigurationApplied):
            return
        if isinstance(event, Disconnected) and event.for_good:
            self.connections.pop(event.index, None)
            self.locations.pop(event.index, None)
            self.wake()
            return
        info = self.connections.get(event.index, ConnectionInfo(index=event.index, state=ConnectionState.CLOSED))
        if isinstance(event, Connecting):
            info = replace(info, state=ConnectionState.CONNECTING, address=event.address)
        elif isinstance(event, Registered):
            info = replace(
                info,
                state=ConnectionState.REGISTERED,
                address=event.address,
                location=event.location,
                connection_id=event.connection_id,
                protocol=event.protocol,
            )
            self.refused = None
            self._locate(event.index, event.location)
        elif isinstance(event, Unregistered):
            info = replace(info, state=ConnectionState.UNREGISTERED)
        elif isinstance(event, Disconnected):
            info = replace(info, state=ConnectionState.CLOSED, connection_id=None)
        elif isinstance(event, Reconnecting):
            info = replace(info, state=ConnectionState.WAITING)
        elif event.permanent and not self.connected:
            self.refused = event
        self.connections[event.index] = info
        self.wake()

    async def wait_change(self) -> None:
        """Wait until something was observed, or `wake` was called. Cancel at any time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.add(waiter)
        try:
            await waiter
        finally:
            self._changed.discard(waiter)

    def wake(self) -> None:
        """Let everyone look again who waits for a change."""
        for waiter in self._changed:
            if not waiter.done():
                waiter.set_result(None)

    def _locate(self, index: int, location: str) -> None:
        locations = self.locations.setdefault(index, Counter())
        for known in locations:
            locations[known] = 0
        locations[location] = 1
