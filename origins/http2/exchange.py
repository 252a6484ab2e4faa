"""One request and its response on an HTTP/2 connection: the inbox of its body, and its credit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pyconnector.origins.base import Headers, OriginError, OriginResponse
from pyconnector.origins.net.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable


class Carrier(Protocol):
    """The connection, as its exchanges see it."""

    def acknowledge(self, stream_id: int, count: int) -> None:
        """Give the origin credit for `count` bytes of a stream."""

    def reset(self, stream_id: int) -> None:
        """Tell the origin that nobody wants the rest."""


class Unprocessed(Exception):
    """The origin did not touch the request (RFC 9113 8.7): it may be sent again on another connection."""


class Exchange(Inbox, OriginResponse):
    """A response that grows as frames arrive. `head` is set once its header is there."""

    def __init__(self, stream_id: int, carrier: Carrier, *, head_only: bool = False) -> None:
        super().__init__(self)
        self.stream_id = stream_id
        self._head_only = head_only
        self.status = 0
        self.headers: Headers = []
        self.trailers: Headers = []
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_abandoned: Callable[[], None] | None = None
        "Called when the response is over before its upload is."
        self.upload_ended = False
        self._carrier: Carrier | None = carrier
        self._held = False
        self._owed = 0
        self._left: int | None = None  # bytes of the body that are to come, where the service has said so

    def __repr__(self) -> str:
        state = "open" if self._carrier else "complete"
        return f"<Exchange {self.stream_id} {self.status} {state}, {self.size} bytes wait for the visitor>"

    @property
    def is_bodiless(self) -> bool:
        """Whether the response ends at its header, whatever the service sends behind it (RFC 9110 6.4.1)."""
        return self._head_only or self.status in (204, 304)

    # -- what arrives ----------------------------------------------------------------------------------------------

    def responded(self, status: int, headers: Headers, length: int | None) -> None:
        """The final header block is there; it says that the body has `length` bytes, where it says so."""
        self.status = status
        self._left = length
        self.headers = headers
        if not self.head.done():
            self.head.set_result(None)

    def takes(self, count: int) -> bool:
        """Whether so many bytes more are within the length that was said; they count as received then."""
        if self._left is None:
            return True
        if count > self._left:
            return False
        self._left -= count
        return True

    @property
    def is_short(self) -> bool:
        """Whether more of the body was promised, though the service has ended it."""
        return bool(self._left) and not self.is_bodiless

    def data(self, data: bytes, credit: int) -> None:
        """Take a piece of the body; `credit` bytes of window it cost go back once there is room."""
        self._owed += credit
        if data:
            self.put(data)
        if not self._held:
            self._settle()

    def completed(self) -> None:
        """Nothing follows, and all was well."""
        self._let_go()
        self.end()
        self._abandon_upload()

    def failed(self, error: Exception) -> None:
        """Nothing follows because of `error`: an `OriginError`, or `Unprocessed` before the head."""
        self._let_go()
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # read here in case nobody waits any more
        self.fail(error if isinstance(error, OriginError) else OriginError(str(error)))
        self._abandon_upload()

    # -- the inbox as its own source of pressure: a held stream keeps its window shut ---------------------------------

    def pause_reading(self) -> None:
        """Give no more credit."""
        self._held = True

    def resume_reading(self) -> None:
        """Give the credit that is owed, and go on giving it."""
        self._held = False
        self._settle()

    def _settle(self) -> None:
        if self._owed and self._carrier is not None:
            owed, self._owed = self._owed, 0
            self._carrier.acknowledge(self.stream_id, owed)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _let_go(self) -> Carrier | None:
        # What is owed counts against the whole connection: kept back for good, it would starve the other exchanges.
        self._settle()
        carrier, self._carrier = self._carrier, None
        return carrier

    async def finish(self) -> None:
        """Give up what is unfinished of the exchange; most often nothing is. Never waits."""
        self.abort()

    def abort(self) -> None:
        """Reset the stream if it is still open, and forget what was not read. Idempotent."""
        carrier = self._let_go()
        if carrier is not None:
            carrier.reset(self.stream_id)
        if not self.head.done():
            self.head.cancel()
        self._abandon_upload()
        self.drop()

    def abort_with(self, error: OriginError) -> None:
        """Reset the stream because the visitor's side failed; whoever waits for the response is told `error`."""
        carrier = self._carrier
        self.failed(error)
        if carrier is not None:
            carrier.reset(self.stream_id)

    def _abandon_upload(self) -> None:
        callback, self.on_abandoned = self.on_abandoned, None
        if callback is not None:
            callback()
