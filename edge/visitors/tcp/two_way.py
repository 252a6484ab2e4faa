"""A visitor's socket and an edge stream joined as one tunnel: bytes both ways, half-closes and aborts included.

Used after a 101 response and by TCP ports. Visitor to stream happens in the socket's callbacks; stream to visitor in
the one task that the visitor has. Either side's back-pressure stops the reading of the other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pyconnector.edge.connectors.exchange import PIECE
from pyconnector.edge.visitors.sockets import Why, end_writing
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.tasks import TaskSet
    from pyconnector.edge.turns import Turns
    from pyconnector.edge.visitors.sockets import VisitorSocket

#: Bytes of replies (WebSocket pongs) that wait for a far end which does not read; beyond, they are left out.
MAX_WAITING_REPLIES = 16 * 1024


class Carriage(Protocol):
    """How bytes of the visitor are carried in the stream."""

    has_more: bool
    "Whether `from_stream` has read only part of what it was given: it wants to be called again, with nothing new."

    def to_stream(self, data: bytes) -> bytes:
        """Return what to send for `data`."""

    def end(self) -> bytes:
        """Return what to send before the stream ends because the visitor sends no more."""

    def from_stream(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return what goes to the visitor, what to send back at once, and whether the far end sends no more.

        Raises:
            ValueError: the stream carries something else.
        """


class Plain:
    """No carriage: bytes are themselves."""

    has_more = False

    def to_stream(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def from_stream(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return `data`."""
        return data, b"", False


class TwoWay:
    """The joined pair, from the moment both are open until both directions are over or one side broke off."""

    def __init__(
        self, socket: VisitorSocket, exchange: Exchange, tasks: TaskSet, turns: Turns, carriage: Carriage
    ) -> None:
        self._socket = socket
        self._transport = socket.transport
        self._exchange = exchange
        self._stream = exchange.stream
        self._tasks = tasks
        self._turns = turns
        self._carriage = carriage
        self._sending = True  # visitor to stream
        self._visitor_ended = False
        self._draining = False
        self._waiting = bytearray()  # what came while draining
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream.set_abort_callback(self._stream_aborted)

    # -- visitor to stream ---------------------------------------------------------------------------------------

    def visitor_data(self, data: bytes) -> None:
        """Send what the visitor sent."""
        if self._sending:
            self._send(self._carriage.to_stream(data))
        else:
            self._socket.drop(self._turns)

    def visitor_ended(self) -> None:
        """The visitor sends no more, but may still receive."""
        self._visitor_ended = True
        if not self._draining:
            self._end_sending()

    def visitor_lost(self) -> None:
        """The visitor's socket is gone: the far end learns it at once."""
        self._sending_is_over()
        self._exchange.abort()

    def _send(self, data: bytes) -> None:
        if self._draining:
            self._waiting += data  # bounded: the socket is not read meanwhile, and replies are few (`_reply`)
            return
        try:
            full = self._stream.send_nowait(data)
        except TransportError:
            self._sending_is_over()
            return
        if full:
            self._draining = True
            self._socket.pause_reading(Why.FULL)
            self._tasks.start(self._drain(), "edge visitor drain")

    def _reply(self, data: bytes) -> None:
        if self._sending and len(self._waiting) < MAX_WAITING_REPLIES:
            self._send(data)

    async def _drain(self) -> None:
        try:
            while self._sending:
                await self._stream.drain()
                waiting = bytes(self._waiting)
                self._waiting.clear()
                if not waiting or not self._stream.send_nowait(waiting):
                    break
        except TransportError:
            self._sending_is_over()
        finally:
            self._draining = False
            self._socket.resume_reading(Why.FULL)
        if self._visitor_ended:
            self._end_sending()

    def _end_sending(self) -> None:
        if self._sending:
            try:
                self._stream.send_nowait(self._carriage.end(), finish=True)
            except TransportError:
                pass  # the far end refused first
            self._sending_is_over()

    def _sending_is_over(self) -> None:
        self._sending = False
        if not self._over.done():
            self._over.set_result(None)

    def _stream_aborted(self) -> None:
        # The far end wants no more, or is gone, which whoever drains or receives finds out by itself.
        if not self._draining:
            try:
                self._stream.send_nowait(b"")
            except TransportError:
                self._sending_is_over()

    # -- stream to visitor ---------------------------------------------------------------------------------------

    async def run(self, first: bytes) -> bool:
        """Carry the stream to the visitor until both directions are over; `first` was received already.

        Returns whether everything ended as it should; where not, the visitor's socket must be cut off.
        Cancel aborts the stream.
        """
        try:
            await self._receive(first)
            end_writing(self._transport)
            await self._over
            self._stream.stop()
            self._exchange.close()
        except (TransportError, ValueError):
            return False
        finally:
            self._stream.set_abort_callback(None)
            self._exchange.abort()
        return True

    async def _receive(self, data: bytes) -> None:
        stream, carriage = self._stream, self._carriage
        ended = False
        while not ended:
            if data or carriage.has_more:
                payload, reply, ended = carriage.from_stream(data)
                if reply:
                    self._reply(reply)
                if payload and not self._transport.is_closing():
                    self._transport.write(payload)
                if self._socket.writing.paused:
                    await self._socket.writing.wait()
                if ended:
                    return
                if carriage.has_more:
                    await self._turns.wait()  # others get theirs between many small frames
                    data = b""
                    continue
            received = stream.receive_nowait(PIECE)
            data = await stream.receive(PIECE) if received is None else received
            ended = not data
