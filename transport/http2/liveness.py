"""Whether the peer of an HTTP/2 connection still lives: PINGs where it is silent, and how long their answers take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyconnector.transport.http2.settings import Http2Settings


class Watched(Protocol):
    """The connection, as this sees it."""

    @property
    def taken(self) -> int:
        """Bytes that have left the socket."""

    @property
    def is_congested(self) -> bool:
        """Whether the socket has more to send than it takes."""

    def send_ping(self, data: bytes) -> None:
        """Ask the peer for a sign of life."""

    def fell_silent(self, reason: str) -> None:
        """Give the peer up."""


class Liveness:
    """Begins with the connection and ends with `end`."""

    def __init__(self, owner: Watched, settings: Http2Settings) -> None:
        self._owner = owner
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._taken = 0
        self._asked: dict[bytes, tuple[float, asyncio.Future[None]]] = {}
        self._number = 0
        self.round_trips: tuple[float | None, float | None] = (None, None)
        "The latest and the smallest, in seconds."
        self._timer = self._loop.call_later(settings.keepalive, self._look)

    def heard(self) -> None:
        """The peer sent something."""
        self._heard = self._loop.time()

    async def ask(self) -> float:
        """Return the seconds until the peer answered a PING, or the connection ended. Cancel at any time."""
        started = self._loop.time()
        await self._ask()
        return self._loop.time() - started

    def answered(self, data: bytes) -> None:
        """The peer answered a PING."""
        started, waiter = self._asked.pop(data, (0.0, None))
        if waiter is None:
            return
        latest, smallest = self._loop.time() - started, self.round_trips[1]
        self.round_trips = (latest, latest if smallest is None else min(latest, smallest))
        if not waiter.done():
            waiter.set_result(None)

    def end(self) -> None:
        """Watch no more, and wake who waits for an answer."""
        self._timer.cancel()
        asked, self._asked = self._asked, {}
        for _, waiter in asked.values():
            if not waiter.done():
                waiter.set_result(None)

    def _ask(self) -> asyncio.Future[None]:
        self._number += 1
        data = self._number.to_bytes(8, "big")
        waiter = self._loop.create_future()
        self._asked[data] = (self._loop.time(), waiter)
        self._owner.send_ping(data)
        return waiter

    def _look(self) -> None:
        now, settings = self._loop.time(), self._settings
        taken = self._owner.taken
        if taken != self._taken and self._owner.is_congested:
            self._heard = now  # it takes what is sent, slowly, and our question is behind that
        self._taken = taken
        silent = now - self._heard
        if silent >= settings.idle_timeout:
            self._owner.fell_silent(f"nothing was heard of the peer for {settings.idle_timeout:g} s")
            return
        if silent >= settings.keepalive and not self._asked:
            self._ask()
        self._timer = self._loop.call_later(settings.keepalive / 2, self._look)
