"""One connection of the API: uvicorn's, whose bytes are read in slices and whose heads have a time.

uvicorn hands h11 all that a read of the socket brought, and the smallest units (chunks of a byte) cost h11 some 50
microseconds each: one client would stop everybody else for seconds. Who begins a head and never ends it would keep its
place for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

#: Bytes that are read in one turn of the loop, of all connections together, and of one before the next has its go.
SLICE, PIECE = 2048, 256
#: Seconds that a connection may be without a request that is whole, or be served one whose answer is over.
HEAD_TIMEOUT = 10.0


class Turns:
    """Connections of one server with bytes that wait, and what this turn has read."""

    def __init__(self) -> None:
        self._waiting: deque[ApiConnection] = deque()
        self._read = 0
        self._coming = False

    def take(self, size: int) -> bool:
        """Whether so much more may be read in this turn, as nobody waits; it is counted then."""
        if self._waiting or self._read + size > SLICE:
            return False
        self._read += size
        self._again()
        return True

    def add(self, connection: ApiConnection) -> None:
        """Have bytes of a connection read when it is its turn, which had none that wait."""
        self._waiting.append(connection)
        self._again()

    def _again(self) -> None:
        if not self._coming:
            self._coming = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._coming = False
        self._read = 0
        while self._waiting and self._read < SLICE:
            connection = self._waiting.popleft()
            try:
                self._read += connection.read(min(PIECE, SLICE - self._read))
            finally:
                if connection.ahead:
                    self._waiting.append(connection)
                if self._waiting:
                    self._again()


class _Flow(FlowControl):
    """uvicorn's, which does not begin to read anew while bytes wait."""

    def __init__(self, transport: asyncio.Transport, owner: ApiConnection) -> None:
        super().__init__(transport)
        self._owner = owner

    def resume_reading(self) -> None:
        """See `FlowControl.resume_reading`."""
        if self._owner.ahead:
            self.read_paused = False
        else:
            super().resume_reading()


class ApiConnection(H11Protocol):
    """See the file. `turns` is shared by the connections of a server."""

    turns: Turns

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.ahead = bytearray()
        "Bytes that wait for their turn: one read of the socket."
        self._limit: asyncio.TimerHandle | None = None
        self._looked_at: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client came."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._limit = self.loop.call_later(HEAD_TIMEOUT, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.ahead.clear()
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what there is room for in this turn; the rest waits, and the socket with it."""
        if not self.ahead and self.turns.take(len(data)):
            super().data_received(data)
            return
        if not self.ahead:
            self.turns.add(self)
        self.ahead += data
        self.transport.pause_reading()

    def read(self, size: int) -> int:
        """Read so many of the bytes that wait; return how many those were."""
        piece = bytes(self.ahead[:size])
        del self.ahead[:size]
        if self.transport.is_closing():
            self.ahead.clear()
        if piece and not self.transport.is_closing():
            super().data_received(piece)
        if self.ahead:
            self.transport.pause_reading()
        elif not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
        return len(piece)

    def _look(self) -> None:
        served = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if served is self._looked_at and (served is None or served.response_complete):
            self.transport.close()
            return
        self._looked_at = served
        self._limit = self.loop.call_later(HEAD_TIMEOUT, self._look)
