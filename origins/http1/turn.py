"""Who owns an HTTP/1.1 connection while it serves an exchange (docs/architecture.md, "Cancellation and ownership")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from pyconnector.origins.base import OriginResponse
    from pyconnector.origins.http1.response import Carrier, HttpResponse
    from pyconnector.origins.http1.upload import Upload


class Turn:
    """One exchange's hold on its connection, from its request until the connection needs no more of it.

    A task that waits, and a response that is still being read, hold this and never the connection: once the turn is
    over, whatever wakes late has nothing left that it could abort.
    """

    __slots__ = ("_carrier", "response", "silent", "upload", "waiter")

    def __init__(self, carrier: Carrier, waiter: asyncio.Future[OriginResponse], upload: Upload | None) -> None:
        self._carrier: Carrier | None = carrier
        self.waiter = waiter
        self.response: HttpResponse | None = None
        "The response, once its head is there and its end is not."
        self.upload = upload
        self.silent = True
        "Whether no byte of an answer arrived yet."

    @property
    def is_uploaded(self) -> bool:
        """Whether the whole request was handed to the transport."""
        return self.upload is None or self.upload.done

    def abandon(self) -> None:
        """The task that waited was cancelled, or failed: close what still is this turn's, and what it was handed."""
        self.abort()
        # Resolved, and cancelled before the task could wake: nobody else will ever see this response.
        if self.waiter.done() and not self.waiter.cancelled() and self.waiter.exception() is None:
            self.waiter.result().abort()

    def answer(self, response: OriginResponse) -> None:
        """Hand the response to the task that waits; to nobody where it is cancelled, and then nothing of it stays."""
        upload = self.upload
        if upload is not None and upload.is_waiting:
            upload.cancel()  # a final answer instead of 100: the body is not wanted (RFC 9110 10.1.1)
        if self.waiter.done():
            response.abort()
        else:
            self.waiter.set_result(response)

    def fail(self, error: Exception) -> bool:
        """Fail the task that waits; False where none does."""
        if self.waiter.done():
            return False
        self.waiter.set_exception(error)
        return True

    def release(self) -> None:
        """The connection needs no more of this turn: nothing reaches it from here on. Idempotent."""
        self._carrier = None
        response, self.response = self.response, None
        if response is not None:
            response.carrier = None
            response.attach(None)

    def abort(self) -> None:
        """Close the connection if it still is this turn's. Idempotent."""
        carrier = self._carrier
        if carrier is not None:
            carrier.abort()
