"""The WebSocket of /logs: a reader says what it wants, and gets line after line (reference/lifecycle.md 7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.management.messages import MAX_MESSAGE, BadFilters, UnknownMessage, parse_message
from pyconnector.connector.tasks import TaskOwner
from pyconnector.origins.tcp.tunnel import Tunnel
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FrameDecoder, FrameError, Piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.management.sessions import LogSession
    from pyconnector.origins.base import ByteReader, Headers

#: Seconds between signs of life, and those that a reader may be idle who streams nothing.
PING_INTERVAL, IDLE_TIMEOUT = 15.0, 300.0
#: Bytes read at once.
PIECE_BYTES = 16 * 1024
#: Close codes.
NORMAL, UNSUPPORTED, NOT_STARTED, TOO_MANY, IDLE = 1000, 1003, 4001, 4002, 4003


class _Closed(Exception):
    """The conversation is over; the arguments are code and reason of the close frame."""


class LogStream(Tunnel):
    """One reader's conversation. It is its own source: lines wait while the reader takes nothing."""

    def __init__(self, headers: Headers, make_session: Callable[[Callable[[], None]], LogSession]) -> None:
        super().__init__(101, headers)
        self._session = make_session(self.disconnect)
        self._tasks = TaskOwner(lambda task, error: None)  # `_converse` awaits them
        self._streaming: asyncio.Task[None] | None = None
        self._idle_since: float | None = asyncio.get_running_loop().time()
        self._room = asyncio.Event()
        self._room.set()
        self._message = b""
        self.attach(self)

    def converse(self, body: ByteReader) -> None:
        """Start to read what the reader says from `body`."""
        self.run(self._converse(body))

    def pause_reading(self) -> None:
        """The reader has not taken what was sent."""
        self._room.clear()

    def resume_reading(self) -> None:
        """It takes again."""
        self._room.set()

    async def _converse(self, body: ByteReader) -> None:
        working = [
            self._tasks.spawn(self._read(body), name="log reader"),
            self._tasks.spawn(self._beat(), name="log signs of life"),
        ]
        try:
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except _Closed as closed:
            self.put(frames.close_frame(*closed.args))
        except FrameError as error:
            self.put(frames.close_frame(error.code, error.reason))
        finally:
            self._session.end()
            self.end()
            await self._tasks.cancel_all()

    async def _read(self, body: ByteReader) -> None:
        decoder = FrameDecoder()
        while data := await body.receive(PIECE_BYTES):
            found = decoder.feed(data)
            while found:
                for item in found:
                    self._take(item)
                await self._room.wait()
                if not decoder.has_more:
                    break
                await asyncio.sleep(0)
                found = decoder.feed(b"")

    def _take(self, item: Piece | frames.Control) -> None:
        if isinstance(item, frames.Control):
            if item.opcode == frames.PING:
                self.put(frames.frame(frames.PONG, item.payload))
            elif item.opcode == frames.CLOSE:
                raise _Closed(frames.close_code(item.payload))
            return
        if item.opcode != frames.TEXT or len(self._message) + len(item.payload) > MAX_MESSAGE:
            raise _Closed(UNSUPPORTED, "invalid message type was provided")
        self._message += item.payload
        if item.last:
            message, self._message = self._message, b""
            self._told(message)

    def _told(self, message: bytes) -> None:
        try:
            filters = parse_message(message)
        except UnknownMessage as error:
            raise _Closed(UNSUPPORTED, str(error)) from None
        except BadFilters:
            raise _Closed(NOT_STARTED, "expected start streaming as first event") from None
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        if filters is None:
            self._session.end()
            self._idle_since = asyncio.get_running_loop().time()
            return
        if not self._session.begin(filters):
            raise _Closed(TOO_MANY, "limit exceeded for streaming sessions")
        self._idle_since = None
        self._streaming = self._tasks.spawn(self._stream(), name="log lines")

    async def _stream(self) -> None:
        if not await self._session.begin_elsewhere():
            self._session.end()
            self._leave(TOO_MANY, "limit exceeded for streaming sessions")
            return
        while True:
            line = await self._session.next_line()
            await self._room.wait()
            self.put(frames.frame(frames.TEXT, line))

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            left = PING_INTERVAL
            if self._idle_since is not None:
                left = min(left, self._idle_since + IDLE_TIMEOUT - loop.time())
                if left <= 0:
                    raise _Closed(IDLE, "session was idle for too long")
            await asyncio.sleep(left)
            if self._room.is_set():
                self.put(frames.frame(frames.PING))

    def disconnect(self) -> None:
        """End the conversation: the connector ends, or the same reader began anew elsewhere. Idempotent."""
        self._session.end()
        self._leave(NORMAL, "context closed")

    def _leave(self, code: int, reason: str) -> None:
        self.put(frames.close_frame(code, reason))
        self.end()
        self.lost()
