"""Connections to one origin that wait for their next request: the freshest is taken first, the stalest go."""

from __future__ import annotations

import asyncio

from pyconnector.origins.http1.connection import HttpConnection

#: Idle connections kept per server name where keepAliveConnections is 0 (reference/ingress.md 5).
DEFAULT_PER_KEY = 2
#: Idle connections over all server names in that case, because visitors may bring any number of names.
DEFAULT_TOTAL = 1024


class Pool:
    """Idle connections by key (the server name that TLS verified). Bookkeeping only: it dials nothing."""

    def __init__(self, *, max_idle: int = 100, timeout: float = 90.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._per_key = max_idle or DEFAULT_PER_KEY
        self._total = max_idle or DEFAULT_TOTAL
        self._timeout = timeout
        self._idle: dict[str, list[HttpConnection]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool {self._count} idle>"

    @property
    def idle_count(self) -> int:
        """Connections that wait."""
        return self._count

    def new_connection(self, key: str) -> HttpConnection:
        """A connection that comes back here by itself when an exchange left it clean."""
        return HttpConnection(self._take_back, self._forget, key)

    def take(self, key: str) -> HttpConnection | None:
        """The connection that was used last, or None."""
        idle = self._idle.get(key)
        if not idle:
            return None
        self._count -= 1
        connection = idle.pop()
        if not idle:
            del self._idle[key]
        return connection

    def close(self) -> None:
        """Close what is idle; what is busy closes after its exchange. Idempotent."""
        self._closed = True
        for connection in [connection for idle in self._idle.values() for connection in idle]:
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _take_back(self, connection: HttpConnection) -> None:
        idle = self._idle.setdefault(connection.key, [])
        if self._closed or len(idle) >= self._per_key:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        idle.append(connection)
        self._count += 1
        if self._count > self._total:
            min((waiting[0] for waiting in self._idle.values() if waiting), key=_since).abort()
        if self._timer is None and self._timeout > 0:
            self._timer = self._loop.call_later(self._timeout, self._sweep)

    def _forget(self, connection: HttpConnection) -> None:
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
            self._count -= 1
        if not idle:
            self._idle.pop(connection.key, None)

    def _sweep(self) -> None:
        self._timer = None
        horizon = self._loop.time() - self._timeout
        waiting = [connection for idle in self._idle.values() for connection in idle]
        for connection in waiting:
            if connection.idle_since <= horizon:
                connection.abort()
        if self._count:
            oldest = min(map(_since, (connection for idle in self._idle.values() for connection in idle)))
            self._timer = self._loop.call_at(oldest + self._timeout, self._sweep)


def _since(connection: HttpConnection) -> float:
    return connection.idle_since
