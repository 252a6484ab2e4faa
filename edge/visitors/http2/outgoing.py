"""How answers get out to an HTTP/2 visitor: as its windows and its socket allow; and who has waited too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from pyconnector.edge.visitors.sockets import LEAST_RATE, unsent_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.web.http2.engine import Engine

    Headers = list[tuple[bytes, bytes]]

#: Longest data frame of a response, and bytes of such frames that are handed to the socket at once.
MAX_FRAME, BATCH = 32 * 1024, 64 * 1024
#: Payload of a data frame from which on it calls for an update of windows; smaller ones do where they end a piece.
COUNTED_FRAME = 512
#: Bytes that a visitor must take at least for its time to begin anew, unless that is all there is.
PROGRESS = 1024


class _Wait(NamedTuple):
    """A sender that waits for a window or for the socket."""

    stream_id: int
    since: float
    "When it last made progress."


class Outgoing:
    """The sending half of one connection. `counted` is told of each data frame that calls for updates of windows."""

    def __init__(self, engine: Engine, socket: asyncio.Transport, counted: Callable[[], None], *, limit: float) -> None:
        """Whoever takes less than `LEAST_RATE` for `limit` seconds is stuck."""
        self.paused = False
        "Whether the socket has enough."
        self._h2 = engine
        self._socket = socket
        self._counted = counted
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[None], _Wait] = {}  # first come, first served
        self._queued = 0  # bytes of bodies that only wait for a flush
        self._written = 0  # bytes handed to the socket
        self._limit = limit
        self._least = max(PROGRESS, int(limit * LEAST_RATE))
        self._taken = 0  # how many of them had left it when its time began anew, and when that was
        self._taken_at = self._loop.time()
        self._moved = 0  # the same for any progress at all
        self._moved_at = self._taken_at

    def __len__(self) -> int:
        return len(self._waiting)

    async def send_fields(self, stream_id: int, fields: Headers, *, end: bool = False) -> None:
        """Queue a header block, or trailers, once the socket takes more. Cancel: it is queued or not.

        Raises:
            ProtocolError: it cannot be sent, and nothing else can any more: cut the visitor off.
        """
        since = self._loop.time()
        while self.paused:
            await self._room(stream_id, since)
        self._h2.send_headers(stream_id, fields, end_stream=end)

    async def send_data(self, stream_id: int, data: bytes) -> None:
        """Send `data` as the visitor's windows and its socket allow. Cancel leaves part of it sent."""
        position = marked = 0
        since = 0.0
        while position < len(data):
            window = 0 if self.paused else self._h2.local_flow_control_window(stream_id)
            size = min(window, MAX_FRAME, self._h2.max_outbound_frame_size, len(data) - position)
            if size <= 0:
                self.flush()
                if not since or position - marked >= self._share:
                    marked, since = position, self._loop.time()
                await self._room(stream_id, since)
                continue
            self._h2.send_data(stream_id, data[position : position + size])
            position += size
            if size >= COUNTED_FRAME or position == len(data):
                self._counted()
            self._queued += size
            if self._queued >= BATCH:
                self.flush()

    def flush(self) -> None:
        """Hand the socket what is queued."""
        data = self._h2.data_to_send()
        self._queued = 0
        if data and not self._socket.is_closing():
            self._written += len(data)
            self._socket.write(data)

    def resume(self) -> None:
        """The socket took enough."""
        self.paused = False
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def windows_moved(self) -> int:
        """Wake those who may send now; return how many they are."""
        if self.paused or self._h2.outbound_flow_control_window <= 0:
            return 0
        woken = 0
        for waiter, wait in self._waiting.items():
            stream = self._h2.streams.get(wait.stream_id)
            if not waiter.done() and (stream is None or stream.outbound_flow_control_window > 0):
                waiter.set_result(None)
                woken += 1
        return woken

    @property
    def _share(self) -> int:
        """Bytes of one answer for its time to begin anew: its visitor may take many at once, each as slowly."""
        return max(PROGRESS, self._least // max(1, len(self._waiting)))

    def has_moved(self, least: float) -> bool:
        """Whether so many bytes left for the visitor since the last look."""
        taken, before = self._written - unsent_bytes(self._socket), self._taken
        self._taken = taken
        return taken - before >= least

    def look(self, now: float) -> None:
        """See how far the visitor is; called every now and then."""
        waits = self._socket.get_write_buffer_size()
        taken = self._written - (unsent_bytes(self._socket) if waits else 0)
        if not waits or taken - self._taken >= self._least:
            self._taken, self._taken_at = taken, now
        if not waits or taken - self._moved >= PROGRESS:
            self._moved, self._moved_at = taken, now

    def is_stuck(self, now: float) -> bool:
        """Whether the socket holds something and takes too little of it."""
        return now - self._taken_at > self._limit

    def stalled(self, now: float) -> list[int]:
        """Return the streams whose visitor takes too little of them."""
        if self.paused:
            return []  # that is the socket's fault
        return [wait.stream_id for wait in self._waiting.values() if now - wait.since > self._limit]

    def unread(self, now: float, limit: float) -> list[int]:
        """Return the streams of which nothing was taken for `limit` seconds, the oldest first; none while the socket
        moves, for then they only wait for each other.
        """
        if self.paused and now - self._moved_at <= limit:
            return []
        waits = sorted(self._waiting.values(), key=lambda wait: wait.since)
        return [wait.stream_id for wait in waits if now - wait.since > limit]

    async def _room(self, stream_id: int, since: float) -> None:
        """Wait until something changed that may let more be sent. Cancel at any time."""
        waiter = self._loop.create_future()
        self._waiting[waiter] = _Wait(stream_id, since)
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)
