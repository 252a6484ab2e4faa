"""What arrived from a service and waits for its one reader; bounded by pausing the transport it comes from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pyconnector.origins.net.reading import are_many_full, full_inboxes

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginError

#: Bytes waiting above which the transport stops reading: one read (see `reading`) may have gone beyond it.
INBOX_HIGH_WATER = 256 * 1024
#: Bytes waiting at which it goes on.
INBOX_LOW_WATER = 64 * 1024
#: The same two where many inboxes are full: an inbox is from the first of these marks on, until it is at the second.
SMALL_HIGH_WATER, SMALL_LOW_WATER = 32 * 1024, 8 * 1024
#: Neighbouring pieces are merged up to this size, so that a service that trickles cannot fill memory with objects.
MERGE_BELOW = 4096


class Source(Protocol):
    """What fills an inbox and can be told to wait: an asyncio transport fits."""

    def pause_reading(self) -> None:
        """Stop delivering."""

    def resume_reading(self) -> None:
        """Deliver again."""


class Inbox:
    """A queue of bytes with an end. One side puts, one side receives."""

    __slots__ = (
        "__weakref__",
        "_ended",
        "_error",
        "_is_full",
        "_offset",
        "_paused",
        "_pieces",
        "_size",
        "_source",
        "_waiter",
        "_waits_in",
    )

    def __init__(self, source: Source | None = None) -> None:
        self._source = source
        self._pieces: list[bytes] = []
        self._offset = 0  # bytes of the first piece that were taken already
        self._size = 0
        self._paused = False
        self._is_full = False  # whether it counts among those that hold much
        self._ended = False
        self._error: OriginError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waits_in: asyncio.AbstractEventLoop | None = None

    @property
    def size(self) -> int:
        """Bytes that wait to be received."""
        return self._size

    def put(self, data: bytes) -> None:
        """Add `data`, which must not be empty; ignored after the end."""
        if self._ended:
            return
        pieces = self._pieces
        if pieces and len(pieces[-1]) + len(data) <= MERGE_BELOW:
            pieces[-1] += data
        else:
            pieces.append(data)
        self._size += len(data)
        if self._size > SMALL_HIGH_WATER:
            self._filled()
        if self._waiter is not None:
            self._wake()

    def end(self) -> None:
        """Say that nothing follows."""
        self._ended = True
        if self._waiter is not None:
            self._wake()

    def fail(self, error: OriginError) -> None:
        """Say that nothing follows because of `error`, which is raised once everything before it was received."""
        if not self._ended:
            self._error = error
            self.end()

    def drop(self) -> None:
        """Forget what waits and whatever would follow."""
        self._pieces.clear()
        self._size = self._offset = 0
        if self._is_full:
            self._is_full = False
            full_inboxes().discard(self)
        self.end()

    def attach(self, source: Source | None) -> None:
        """Take another source to pause, or none; a paused one is told to go on before it is let go."""
        if self._paused and self._source is not None:
            self._go_on()
        self._source = source
        self._paused = False

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """Return 1..`limit` bytes, b"" at the end, None where nothing is there yet."""
        pieces = self._pieces
        if not pieces:
            if not self._ended:
                return None
            if self._error is not None:
                raise self._error
            return b""
        data = pieces[0]
        if self._size <= limit:
            if len(pieces) > 1 or self._offset:
                data = b"".join(pieces)[self._offset :]
            pieces.clear()
            self._size = self._offset = 0
        else:
            data = data[self._offset : self._offset + limit]  # no copy where that is all of it
            self._size -= len(data)
            self._offset += len(data)
            if self._offset == len(pieces[0]):
                del pieces[0]
                self._offset = 0
        if self._is_full or self._paused:
            self._emptied()
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        """As `receive_nowait`, but wait. Cancel at any time: no byte is lost."""
        while True:
            data = self.receive_nowait(limit)
            if data is not None:
                return data
            if self._waiter is not None:
                raise RuntimeError("another task is receiving already")
            if self._waits_in is None:  # asked for once: each time costs a system call
                self._waits_in = asyncio.get_running_loop()
            self._waiter = self._waits_in.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _filled(self) -> None:
        if not self._is_full:
            self._is_full = True
            full_inboxes().add(self)
        if not self._paused and self._source is not None and (self._size > INBOX_HIGH_WATER or are_many_full()):
            self._paused = True
            self._source.pause_reading()

    def _emptied(self) -> None:
        if self._is_full and self._size <= SMALL_LOW_WATER:
            self._is_full = False
            full_inboxes().discard(self)
        if self._paused and self._size <= (SMALL_LOW_WATER if are_many_full() else INBOX_LOW_WATER):
            self._go_on()

    def _go_on(self) -> None:
        self._paused = False
        if self._source is not None:
            self._source.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
