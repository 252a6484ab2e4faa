"""What every engine's connection has in common: its streams, the queues towards the user, and its end.

An engine subclasses `BufferedConnection`, answers its `engine_*` questions and reports through `peer_opened`,
`datagram_arrived`, `streams_available`, `wake_senders` and `connection_lost`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from pyconnector.transport.errors import ConnectionClosed
from pyconnector.transport.seam import SEND_HIGH_WATER, SEND_LOW_WATER, Address, Connection, ConnectionClosedInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.buffers.stream import BufferedStream
    from pyconnector.transport.seam import Stream

#: Peer-opened streams that may wait for `accept_stream`; what comes beyond is refused.
ACCEPT_QUEUE = 1024
#: Peer-opened streams that may be open at once; what comes beyond is refused.
PEER_STREAMS = 16384
#: Received datagrams that may wait; what comes beyond is dropped (wire.md 2).
DATAGRAM_QUEUE = 128
#: Unsent bytes that the streams of a connection share: the less is left, the sooner each sender waits.
SEND_BUDGET = 4 * 1024 * 1024
#: High watermark that each stream has however little is left.
SEND_LEAST = 32 * 1024
#: Code of the RESET_STREAM and STOP_SENDING that refuse a stream.
REFUSED_CODE = 0

_T = TypeVar("_T")


class ArrivalQueue(Generic[_T]):
    """A bounded queue of arrivals that can end. Any number of tasks may wait; cancelling one loses nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: deque[_T] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._ended = False

    def __len__(self) -> int:
        return len(self._items)

    def put_nowait(self, item: _T) -> bool:
        """Add `item`; False where the queue is full or ended."""
        if self._ended or len(self._items) >= self.limit:
            return False
        self._items.append(item)
        self._wake_one()
        return True

    def take_nowait(self) -> _T | None:
        """Return the first item, or None where there is none."""
        return self._items.popleft() if self._items else None

    async def take(self) -> _T | None:
        """Return the first item, or None once the queue ended and is empty. Cancel at any time: no item is lost."""
        while not self._items:
            if self._ended:
                return None
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the wake-up that was ours belongs to the next
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        return self._items.popleft()

    def end(self) -> None:
        """Let nothing more in, and wake everyone once the rest is taken. Idempotent."""
        self._ended = True
        while self._waiters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class BufferedConnection(Connection):
    """A Connection in terms of an engine's hooks."""

    def __init__(self, local_address: Address, peer_address: Address) -> None:
        self.local_address = local_address
        self.peer_address = peer_address
        self.closed: ConnectionClosedInfo | None = None
        "How the connection ended; None while it is up."
        self.streams: dict[int, BufferedStream] = {}
        "Every stream whose directions are not both over."
        self.draining: set[BufferedStream] = set()
        "Streams with a task that waits for their backlog to shrink."
        self.datagrams_dropped = 0
        self.peer_streams = 0
        "How many of `streams` the peer opened."
        self.loop = self._loop = asyncio.get_running_loop()
        "Asked for once: each time costs a system call."
        self._accepting: ArrivalQueue[BufferedStream] = ArrivalQueue(ACCEPT_QUEUE)
        self._datagrams: ArrivalQueue[bytes] = ArrivalQueue(DATAGRAM_QUEUE)
        self._stream_handler: Callable[[Stream], None] | None = None
        self._datagram_handler: Callable[[bytes], None] | None = None
        self._open_waiters: deque[asyncio.Future[None]] = deque()
        self._closed_waiter: asyncio.Future[None] = self._loop.create_future()

    def __repr__(self) -> str:
        state = "up" if self.closed is None else f"closed ({self.closed.reason!r}, code {self.closed.code})"
        return f"<{type(self).__name__} peer={self.peer_address} streams={len(self.streams)} {state}>"

    # -- what the engine answers ---------------------------------------------------------------------------------

    @abstractmethod
    def engine_open_stream(self) -> BufferedStream | None:
        """Open a stream at once and add it with `add_stream`; None where the peer's stream limit is reached."""

    @abstractmethod
    def engine_send_datagram(self, data: bytes) -> bool:
        """Send or queue one datagram; False where it is too large or the queue is full."""

    @abstractmethod
    def engine_unsent_total(self) -> int:
        """Return the sum of the streams' unsent backlogs."""

    @abstractmethod
    def engine_close(self, code: int, reason: str) -> None:
        """Tell the peer that the connection ends (application CONNECTION_CLOSE). Called at most once."""

    # -- what the engine reports ---------------------------------------------------------------------------------

    def add_stream(self, stream: BufferedStream) -> None:
        """Keep a stream that this side opened until `forget_stream`."""
        self.streams[stream.stream_id] = stream

    def peer_opened(self, stream: BufferedStream) -> bool:
        """Hand a stream that the peer opened to the user; False where it was refused for lack of room."""
        if self.closed is not None:
            return False
        self.streams[stream.stream_id] = stream
        self.peer_streams += 1
        if self.peer_streams <= PEER_STREAMS:
            if self._stream_handler is not None:
                self._stream_handler(stream)
                return True
            if self._accepting.put_nowait(stream):
                return True
        stream.reset(REFUSED_CODE)
        stream.stop(REFUSED_CODE)
        return False

    def forget_stream(self, stream_id: int, *, peer_opened: bool) -> None:
        """Drop a stream whose directions are both over. What it buffered can still be received."""
        if self.streams.pop(stream_id, None) is not None and peer_opened:
            self.peer_streams -= 1

    def datagram_arrived(self, data: bytes) -> None:
        """Hand a received datagram over, or queue it; drop it where too many wait."""
        if self._datagram_handler is not None:
            self._datagram_handler(data)
        elif not self._datagrams.put_nowait(data):
            self.datagrams_dropped += 1

    def streams_available(self) -> None:
        """The peer's stream limit may have grown: let those go on who wait to open one."""
        waiters = self._open_waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def wake_senders(self) -> None:
        """Backlogs may have shrunk: let senders go on that are below the low watermark."""
        low = self.send_low_water
        for stream in tuple(self.draining):
            stream.backlog_changed(low)

    def connection_lost(self, info: ConnectionClosedInfo) -> None:
        """The connection ended: wake everyone who waits for anything. Idempotent, the first call counts."""
        if self.closed is not None:
            return
        self.closed = info
        self._accepting.end()
        self._datagrams.end()
        self.streams_available()
        streams = tuple(self.streams.values())
        self.streams.clear()
        self.peer_streams = 0
        for stream in streams:
            stream.connection_lost()
        self._stream_handler = None
        self._datagram_handler = None
        if not self._closed_waiter.done():
            self._closed_waiter.set_result(None)

    @property
    def send_high_water(self) -> int:
        """Unsent bytes of a stream above which its sender waits: half of what is left of the budget, within bounds."""
        left = SEND_BUDGET - self.engine_unsent_total()
        return min(max(left // 2, SEND_LEAST), SEND_HIGH_WATER)

    @property
    def send_low_water(self) -> int:
        """Unsent bytes of a stream at which its sender goes on; negative where none may for now."""
        return self.send_high_water * SEND_LOW_WATER // SEND_HIGH_WATER

    def closed_error(self) -> ConnectionClosed:
        """Return a new error that says how the connection ended."""
        info = self.closed
        if info is None:
            return ConnectionClosed("the connection is still up")
        return ConnectionClosed(info.reason, code=info.code, local=info.local, idle=info.idle)

    # -- the seam ------------------------------------------------------------------------------------------------

    async def accept_stream(self) -> Stream:
        """See `Connection.accept_stream`. Cancel at any time."""
        stream = await self._accepting.take()
        if stream is None:
            raise self.closed_error()
        return stream

    def set_stream_handler(self, handler: Callable[[Stream], None]) -> None:
        """See `Connection.set_stream_handler`."""
        if self.closed is None:
            self._stream_handler = handler
        while (stream := self._accepting.take_nowait()) is not None:
            handler(stream)

    async def open_stream(self) -> Stream:
        """See `Connection.open_stream`. Cancel at any time."""
        while self.closed is None:
            stream = self.engine_open_stream()
            if stream is not None:
                return stream
            waiter = self._loop.create_future()
            self._open_waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._open_waiters:
                    self._open_waiters.remove(waiter)
                raise
        raise self.closed_error()

    def send_datagram(self, data: bytes) -> bool:
        """See `Connection.send_datagram`."""
        return self.closed is None and self.engine_send_datagram(data)

    async def receive_datagram(self) -> bytes:
        """See `Connection.receive_datagram`. Cancel at any time."""
        data = await self._datagrams.take()
        if data is None:
            raise self.closed_error()
        return data

    def set_datagram_handler(self, handler: Callable[[bytes], None]) -> None:
        """See `Connection.set_datagram_handler`."""
        while (data := self._datagrams.take_nowait()) is not None:
            handler(data)
        if self.closed is None:
            self._datagram_handler = handler

    def close(self, code: int = 0, reason: str = "") -> None:
        """See `Connection.close`."""
        if self.closed is None:
            self.engine_close(code, reason)
            self.connection_lost(ConnectionClosedInfo(code=code, reason=reason, local=True, idle=False))

    async def wait_closed(self) -> ConnectionClosedInfo:
        """See `Connection.wait_closed`. Cancel at any time."""
        while self.closed is None:
            await asyncio.shield(self._closed_waiter)
        return self.closed
