"""What every engine's stream has in common: the buffers, the waiting and the errors of the Stream seam.

An engine subclasses `BufferedStream`, answers its five `engine_*` questions and reports what the peer did through
`data_received`, `peer_reset`, `peer_stopped` and `backlog_changed`. There is no task per stream, and nothing here
knows a protocol.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from pyconnector.transport.buffers.connection import SEND_LEAST
from pyconnector.transport.errors import StreamBusy, StreamClosed, StreamReset
from pyconnector.transport.seam import RECEIVE_LIMIT, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pyconnector.transport.buffers.connection import BufferedConnection

#: Pieces smaller than this are joined while nobody reads, so that a peer sending single bytes costs no object each.
SMALL_PIECE = 1024
#: A joined piece is not grown beyond this.
JOINED_PIECE = 16 * 1024
#: A piece of this size is handed on as it is: joining it with the next costs more than one more turn of its reader.
LONG_PIECE = 32 * 1024

# States of one direction.
_OPEN = 0
_ENDED = 1  # receiving: the peer's end arrived; sending: this side finished
_ABORTED = 2  # the peer reset (receiving) or asked to stop (sending)
_REFUSED = 3  # this side stopped (receiving) or reset (sending)


class BufferedStream(Stream):
    """A Stream in terms of an engine's hooks. What was received and not yet taken waits here; what is sent waits in
    the engine."""

    __slots__ = (
        "__weakref__",
        "_abort_callback",
        "_abort_code",
        "_aborted",
        "_buffered",
        "_connection",
        "_drain_waiter",
        "_head",
        "_pieces",
        "_receive_state",
        "_receive_waiter",
        "_send_state",
        "reader",
        "stream_id",
    )

    def __init__(self, connection: BufferedConnection, stream_id: int) -> None:
        self.stream_id = stream_id
        self.reader: Hashable = None
        "For whom it is read; None where nobody said."
        self._connection = connection
        self._pieces: deque[bytes | bytearray] = deque()
        self._head = 0  # bytes already taken from the first piece
        self._buffered = 0
        self._receive_state = _OPEN
        self._send_state = _OPEN
        self._abort_code = 0
        self._aborted = False
        self._abort_callback: Callable[[], None] | None = None
        self._receive_waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        names = ("open", "ended", "aborted by the peer", "refused")
        return (
            f"<{type(self).__name__} {self.stream_id} receiving={names[self._receive_state]} "
            f"sending={names[self._send_state]} buffered={self._buffered}>"
        )

    # -- what the engine answers ---------------------------------------------------------------------------------

    @abstractmethod
    def engine_write(self, data: bytes, finish: bool) -> None:
        """Queue `data` (perhaps empty), then the end of the stream with `finish`. Called only while sending is open
        and the connection is up."""

    @abstractmethod
    def engine_unsent_backlog(self) -> int:
        """Return how many queued bytes were never sent yet. Called at any time, also after the connection ended."""

    @abstractmethod
    def engine_reset(self, code: int) -> None:
        """Abort sending (RESET_STREAM). Called at most once, while the connection is up."""

    @abstractmethod
    def engine_stop(self, code: int) -> None:
        """Ask the peer to stop (STOP_SENDING). Called at most once, before its end or its reset arrived."""

    @abstractmethod
    def engine_consumed(self, count: int) -> None:
        """Return credit for `count` received bytes. Called once for every byte that `data_received` brought, also
        after the connection ended or the engine forgot the stream."""

    # -- what the engine reports ---------------------------------------------------------------------------------

    def data_received(self, data: bytes, finished: bool) -> None:
        """Take bytes that arrived in order, and the peer's end with `finished`."""
        if self._receive_state != _OPEN:
            if data:
                self.engine_consumed(len(data))
            return
        if data:
            self._buffered += len(data)
            pieces = self._pieces
            if len(data) >= SMALL_PIECE or not pieces:
                pieces.append(data)
            else:
                last = pieces[-1]
                if type(last) is bytearray and len(last) < JOINED_PIECE:
                    last += data
                else:
                    pieces.append(bytearray(data))
        if finished:
            self._receive_state = _ENDED
        self._wake_receiver()

    def peer_reset(self, code: int) -> None:
        """The peer aborted its sending side: what waits here is dropped."""
        if self._receive_state == _OPEN:
            self._receive_state = _ABORTED
            self._abort_code = code
            self._drop_buffered()
            self._wake_receiver()
            self._abort()

    def peer_stopped(self, code: int) -> None:
        """The peer asked this side to stop sending; the engine answers with its own RESET_STREAM."""
        finished = self._send_state == _ENDED and not self.engine_unsent_backlog()
        if finished or self._send_state in (_ABORTED, _REFUSED):
            return
        self._send_state = _ABORTED
        self._abort_code = code
        self._wake_sender()
        self._abort()

    def backlog_changed(self, low_water: int) -> None:
        """The unsent backlog may have shrunk: let a waiting sender go on."""
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done() and self.engine_unsent_backlog() <= low_water:
            waiter.set_result(None)

    def connection_lost(self) -> None:
        """The connection ended: wake everyone, and tell of it unless both directions had ended before."""
        self._wake_receiver()
        self._wake_sender()
        if not self.has_ended:
            self._abort()

    @property
    def has_ended(self) -> bool:
        """Whether both directions are over and nothing is left to send."""
        return (
            self._receive_state != _OPEN
            and self._send_state != _OPEN
            and not (self._send_state == _ENDED and self.engine_unsent_backlog())
        )

    @property
    def is_aborted(self) -> bool:
        """Whether the peer reset its sending side."""
        return self._receive_state == _ABORTED

    @property
    def has_received_all(self) -> bool:
        """Whether the peer's end arrived, and everything before it was taken."""
        return self._receive_state == _ENDED and not self._pieces

    @property
    def buffered(self) -> int:
        """Bytes that arrived and were not taken yet."""
        return self._buffered

    def read_for(self, reader: Hashable) -> None:
        """See `Stream.read_for`."""
        self.reader = reader

    # -- receiving -----------------------------------------------------------------------------------------------

    async def receive(self, limit: int = RECEIVE_LIMIT) -> bytes:
        """See `Stream.receive`."""
        while (data := self.receive_nowait(limit)) is None:
            waiter = self._receive_waiter = self._connection.loop.create_future()
            try:
                await waiter
            finally:
                self._receive_waiter = None
        return data

    def receive_nowait(self, limit: int = RECEIVE_LIMIT) -> bytes | None:
        """See `Stream.receive_nowait`."""
        if self._receive_waiter is not None:
            raise StreamBusy(f"another task is receiving from stream {self.stream_id}")
        if self._pieces:
            return self._take(limit)
        state = self._receive_state
        if state == _ENDED:
            return b""
        if state == _ABORTED:
            raise StreamReset(self._abort_code)
        if state == _REFUSED:
            raise StreamClosed(f"this side stopped receiving from stream {self.stream_id}")
        if self._connection.closed is not None:
            raise self._connection.closed_error()
        return None

    def stop(self, code: int = 0) -> None:
        """See `Stream.stop`."""
        state = self._receive_state
        if state == _OPEN:
            self._receive_state = _REFUSED
            self._drop_buffered()
            self._wake_receiver()
            if self._connection.closed is None:
                self.engine_stop(code)
        elif state == _ENDED and self._pieces:
            self._receive_state = _REFUSED
            self._drop_buffered()

    def _take(self, limit: int) -> bytes:
        if limit < 1:
            raise ValueError("the limit of a receive is at least 1")
        pieces = self._pieces
        first, head = pieces[0], self._head
        if head or len(first) > limit:
            data = bytes(memoryview(first)[head : head + limit])
            self._head = head + len(data)
            if self._head == len(first):
                pieces.popleft()
                self._head = 0
        elif len(pieces) == 1 or len(first) >= LONG_PIECE or len(first) + len(pieces[1]) > limit:
            pieces.popleft()
            data = first if type(first) is bytes else bytes(first)
        else:
            taken, size = [], 0
            while pieces and size + len(pieces[0]) <= limit:
                piece = pieces.popleft()
                size += len(piece)
                taken.append(piece)
            data = b"".join(taken)
        self._buffered -= len(data)
        self.engine_consumed(len(data))
        return data

    def _drop_buffered(self) -> None:
        count = self._buffered
        if count:
            self._pieces.clear()
            self._head = self._buffered = 0
            self.engine_consumed(count)

    def _wake_receiver(self) -> None:
        waiter = self._receive_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        if self.send_nowait(data):
            await self.drain()

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        """See `Stream.send_nowait`."""
        if self._drain_waiter is not None:
            raise StreamBusy(f"another task is sending on stream {self.stream_id}")
        if self._send_state != _OPEN or self._connection.closed is not None:
            self._refuse_to_send()
        if finish:
            self._send_state = _ENDED
            self.engine_write(data, True)
            return False
        if not data:
            return False
        self.engine_write(data, False)
        backlog = self.engine_unsent_backlog()
        return backlog > SEND_LEAST and backlog > self._connection.send_high_water

    async def drain(self) -> None:
        """See `Stream.drain`."""
        if self._drain_waiter is not None:
            raise StreamBusy(f"another task is sending on stream {self.stream_id}")
        while True:
            if self._send_state >= _ABORTED:
                self._refuse_to_send()
            if self.engine_unsent_backlog() <= self._connection.send_low_water:
                return
            if self._connection.closed is not None:
                raise self._connection.closed_error()
            waiter = self._drain_waiter = self._connection.loop.create_future()
            self._connection.draining.add(self)
            try:
                await waiter
            finally:
                self._drain_waiter = None
                self._connection.draining.discard(self)

    def finish(self) -> None:
        """See `Stream.finish`."""
        if self._send_state == _OPEN:
            self._send_state = _ENDED
            if self._connection.closed is None:
                self.engine_write(b"", True)

    def reset(self, code: int = 0) -> None:
        """See `Stream.reset`."""
        state = self._send_state
        if state == _OPEN or (state == _ENDED and self.engine_unsent_backlog()):
            self._send_state = _REFUSED
            if self._connection.closed is None:
                self.engine_reset(code)
            self._wake_sender()

    def give_up_receiving(self) -> None:
        """The reset that this side sends ends receiving too: what waits here is dropped. For engines."""
        if self._receive_state == _OPEN:
            self._receive_state = _REFUSED
            self._drop_buffered()
            self._wake_receiver()

    def has_one_direction(self, *, sends: bool) -> None:
        """It was opened as a unidirectional stream: nothing is received (`sends`), or nothing is sent. For engines."""
        if sends:
            self._receive_state = _ENDED
        else:
            self._send_state = _ENDED

    def check_sendable(self) -> None:
        """Raise as `send` does where nothing can be sent any more. For engines."""
        if self._send_state != _OPEN or self._connection.closed is not None:
            self._refuse_to_send()

    def _refuse_to_send(self) -> NoReturn:
        if self._send_state == _ABORTED:
            raise StreamReset(self._abort_code)
        if self._send_state != _OPEN:
            raise StreamClosed(f"this side already ended sending on stream {self.stream_id}")
        raise self._connection.closed_error()

    def _wake_sender(self) -> None:
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- aborts --------------------------------------------------------------------------------------------------

    def set_abort_callback(self, callback: Callable[[], None] | None) -> None:
        """See `Stream.set_abort_callback`."""
        if callback is not None and (self._aborted or (self._connection.closed is not None and not self.has_ended)):
            self._aborted = True
            self._abort_callback = None
            callback()
        else:
            self._abort_callback = callback

    def _abort(self) -> None:
        # Through the loop, because this runs in the middle of the engine's events and the callback may do anything.
        self._aborted = True
        if self._abort_callback is not None:
            self._connection.loop.call_soon(self._run_abort_callback)

    def _run_abort_callback(self) -> None:
        callback, self._abort_callback = self._abort_callback, None
        if callback is not None:
            callback()
