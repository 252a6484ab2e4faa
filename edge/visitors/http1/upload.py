"""The body of a visitor's request on its way into a stream: what arrives is sent at once, and a full stream stops the
reading of the visitor's socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    import asyncio

    from pyconnector.edge.tasks import TaskSet
    from pyconnector.edge.visitors.http1.request_body import RequestBody
    from pyconnector.transport.seam import Stream


class Upload:
    """One body, from the first bytes after the stream was opened to its end."""

    __slots__ = ("_body", "_draining", "_held", "_refused", "_socket", "_stream", "_tasks")

    def __init__(self, socket: asyncio.Transport, stream: Stream, body: RequestBody, tasks: TaskSet) -> None:
        self._socket = socket
        self._stream = stream
        self._body = body
        self._tasks = tasks
        self._held: list[bytes] = []  # what was on its way when the socket ceased to be read
        self._refused = False
        self._draining = False

    @property
    def finished(self) -> bool:
        """Whether all of it arrived."""
        return self._body.finished

    @property
    def is_draining(self) -> bool:
        """Whether it waits for the far end to take what was sent."""
        return self._draining

    @property
    def leftover(self) -> bytes:
        """What followed the body, once finished."""
        return self._body.leftover

    def feed(self, data: bytes) -> None:
        """Take bytes from the visitor.

        Raises:
            BadRequest: the body is malformed.
        """
        piece = self._body.feed(data)
        if self._draining:
            self._held.append(piece)
        elif not self._refused:
            self._send(piece)

    def _send(self, piece: bytes) -> None:
        try:
            full = self._stream.send_nowait(piece, finish=self._body.finished)
        except TransportError:
            self._refused = True  # the response may come nevertheless
            return
        if full and not self._body.finished:
            self._draining = True
            self._socket.pause_reading()
            self._tasks.start(self._drain(), "edge visitor drain")

    async def _drain(self) -> None:
        try:
            full = True
            while full:
                await self._stream.drain()
                held = b"".join(self._held)
                self._held.clear()
                finish = self._body.finished
                full = self._stream.send_nowait(held, finish=finish) and not finish
        except TransportError:
            self._refused = True
        finally:
            self._draining = False
            self._held.clear()
            self._socket.resume_reading()
