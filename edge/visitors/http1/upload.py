"""The body of a visitor's request on its way into a stream: what arrives is sent at once, and a full stream stops the
reading of the visitor's socket, as does more work than one turn of the loop may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.visitors.sockets import Why
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.visitors.form import Form
    from pyconnector.edge.visitors.http1.request_body import RequestBody
    from pyconnector.edge.visitors.server import VisitorServer
    from pyconnector.edge.visitors.sockets import VisitorSocket
    from pyconnector.transport.seam import Stream


class Upload:
    """One body, from the first bytes after the stream was opened to its end."""

    __slots__ = ("_body", "_draining", "_queued", "_refused", "_server", "_socket", "_stream", "_waiting", "on_turn")

    def __init__(
        self, socket: VisitorSocket, stream: Stream | Form, body: RequestBody, waiting: bytearray, server: VisitorServer
    ) -> None:
        """`waiting` is where the visitor's bytes wait: what follows the body stays there."""
        self._socket = socket
        self._stream = stream
        self._body = body
        self._waiting = waiting
        self._server = server
        self._refused = False
        self._draining = False
        self._queued = False
        self.on_turn: Callable[[], None] = lambda: None
        "Called when there is room or a turn for what waits: it calls `advance`."

    @property
    def finished(self) -> bool:
        """Whether all of it arrived."""
        return self._body.finished

    @property
    def is_draining(self) -> bool:
        """Whether it waits for the far end to take what was sent."""
        return self._draining

    def feed(self, data: bytes) -> None:
        """Take bytes from the visitor.

        Raises:
            BadRequest: the body is malformed.
        """
        if not self._waiting and not self._draining and not self._refused and self._body.passes(data):
            self._send(data)
        else:
            self._waiting += data
            self.advance()

    def advance(self) -> None:
        """Take from what waits as much as one turn may, unless the far end is full.

        Raises:
            BadRequest: the body is malformed.
        """
        if self._draining or self._queued or not self._waiting:
            return
        piece = self._body.take(self._waiting)
        if piece or self._body.finished:
            self._send(piece)
        if self._body.is_behind:
            self._queued = True
            self._socket.pause_reading(Why.WORK)
            self._server.turns.add(self._continue)
        elif self._refused:
            self._socket.drop(self._server.turns)

    def _continue(self) -> None:
        self._queued = False
        self._socket.resume_reading(Why.WORK)
        self.on_turn()

    def _send(self, piece: bytes) -> None:
        if self._refused:
            return
        try:
            full = self._stream.send_nowait(piece, finish=self._body.finished)
        except TransportError:
            self._refused = True  # the response may come nevertheless
            return
        if full and not self._body.finished:
            self._draining = True
            self._socket.pause_reading(Why.FULL)
            self._server.tasks.start(self._drain(), "edge visitor drain")

    async def _drain(self) -> None:
        try:
            await self._stream.drain()
        except TransportError:
            self._refused = True
        finally:
            self._draining = False
            self._socket.resume_reading(Why.FULL)
        self.on_turn()
