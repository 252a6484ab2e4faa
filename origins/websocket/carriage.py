"""Plain bytes of a TCP service, carried in WebSocket frames: the connector is the server of that WebSocket.

Visitor to service: payloads of binary messages of any size, text discarded (reference/ingress.md 8). Service to
visitor: one binary frame per read. A close frame goes out at the end, pings keep middle boxes awake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.origins.net.channel import pump
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, INBOX_LOW_WATER, Source
from pyconnector.origins.tcp.tunnel import Tunnel
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FrameDecoder, FrameError

if TYPE_CHECKING:
    from pyconnector.origins.base import ByteReader, Headers, OriginError

#: Seconds between pings (reference/ingress.md 8).
PING_INTERVAL = 54.0
#: Seconds in which a service may still answer after its visitor said close; then it is cut off.
CLOSE_LINGER = 1.0
#: Seconds a visitor may be silent before it answers our close frame; it may have much to send still.
CLOSE_TIMEOUT = 10.0
#: Bytes read of the visitor at once.
PIECE_BYTES = 64 * 1024


class WebSocketTunnel(Tunnel):
    """A tunnel whose visitor speaks WebSocket and whose service does not know it."""

    def __init__(self, headers: Headers) -> None:
        super().__init__(101, headers)
        self._loop = asyncio.get_running_loop()
        self._pong: bytes | None = None
        self._close_code = frames.NORMAL
        self._closing = False
        self._timer = self._loop.call_later(PING_INTERVAL, self._ping)
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def service(self) -> FrameWriter:
        """Where the service's bytes go."""
        return FrameWriter(self)

    def carry(self, body: ByteReader) -> None:
        """Start to carry the payloads in `body` to the channel."""
        assert self.channel is not None
        self.run(pump(self.reader(body), self.channel))

    def reader(self, body: ByteReader) -> FrameReader:
        """The visitor's frames in `body` as plain bytes."""
        return FrameReader(body, self)

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """As the inbox has it; a pong that had to wait for room gets its turn."""
        data = super().receive_nowait(limit)
        if self._pong is not None and self.size <= INBOX_LOW_WATER and not self._closing:
            pong, self._pong = self._pong, None
            self.put(pong)
        return data

    def answer_ping(self, payload: bytes) -> None:
        """Queue a pong; while the visitor does not read, only the newest is kept (RFC 6455 5.5.3)."""
        pong = frames.frame(frames.PONG, payload)
        if self.size <= INBOX_HIGH_WATER:
            self.put(pong)
        else:
            self._pong = pong

    def close_with(self, code: int, reason: str = "") -> None:
        """Send a close frame, then end the way back. The first one counts."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        self.put(frames.close_frame(code, reason))
        self.end()
        self._set_deadline(CLOSE_TIMEOUT)

    def service_ended(self) -> None:
        """The service will send no more: answer the visitor's close, or close first."""
        self.close_with(self._close_code)

    def visitor_closes(self, code: int) -> None:
        """The visitor said close: the service gets a moment to finish, then the same code goes back."""
        self._close_code = code
        if not self._closing:
            self._set_deadline(CLOSE_LINGER)

    def visitor_spoke(self) -> None:
        """Data came although we closed: the service ended one direction only, and the other is in use."""
        if self._deadline is not None and self._closing:
            self._set_deadline(CLOSE_TIMEOUT)

    async def finish(self) -> None:
        """As `Tunnel.finish`. Cancel aborts."""
        try:
            await super().finish()
        finally:
            self._stop()

    def abort(self) -> None:
        """As `Tunnel.abort`."""
        self._stop()
        super().abort()

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(seconds, self._out_of_time)

    def _out_of_time(self) -> None:
        self.close_with(self._close_code)
        self.lost()
        if self.channel is not None:
            self.channel.abort()

    def _ping(self) -> None:
        if self.size <= INBOX_HIGH_WATER:
            self.put(frames.frame(frames.PING))
        self._timer = self._loop.call_later(PING_INTERVAL, self._ping)

    def _stop(self) -> None:
        self._closing = True
        self._timer.cancel()
        if self._deadline is not None:
            self._deadline.cancel()


class FrameWriter:
    """A channel's sink: each read of the service becomes one binary frame."""

    def __init__(self, tunnel: WebSocketTunnel) -> None:
        self._tunnel = tunnel

    def put(self, data: bytes) -> None:
        """Send bytes."""
        self._tunnel.put(frames.frame(frames.BINARY, data))

    def end(self) -> None:
        """The service ended."""
        self._tunnel.service_ended()

    def fail(self, error: OriginError) -> None:
        """The service broke off."""
        self._tunnel.close_with(frames.INTERNAL_ERROR, "the service broke the connection off")

    def attach(self, source: Source | None) -> None:
        """Pass on what has to be paused."""
        self._tunnel.attach(source)


class FrameReader:
    """The visitor's frames as plain bytes: the payloads of binary messages, then the end.

    However small the frames, so many are read in a row and no more; then the loop turns, and everybody else is served.
    """

    def __init__(self, body: ByteReader, tunnel: WebSocketTunnel) -> None:
        self._body = body
        self._tunnel = tunnel
        self._decoder = FrameDecoder()
        self._ready = b""
        self._read = 0  # frames since the loop turned last
        self._ended = False

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """Return 1..`limit` bytes, b"" at the end, None where it would wait or had its turn. Raises FrameError."""
        while not self._ready and not self._ended:
            if self._read >= frames.FRAMES_AT_ONCE:
                return None
            data = b"" if self._decoder.has_more else self._body.receive_nowait(PIECE_BYTES)
            if data is None:
                return None
            self._take(data)
        return self._next(limit)

    async def receive(self, limit: int = 65_536) -> bytes:
        """As `receive_nowait`, but wait. Cancel at any time: no byte is lost."""
        while not self._ready and not self._ended:
            if self._read >= frames.FRAMES_AT_ONCE:
                await asyncio.sleep(0)
                self._read = 0
            self._take(b"" if self._decoder.has_more else await self._body.receive(PIECE_BYTES))
        return self._next(limit)

    def _next(self, limit: int) -> bytes:
        data, self._ready = self._ready[:limit], self._ready[limit:]
        return data

    def _take(self, data: bytes) -> None:
        if not data and not self._decoder.has_more:
            self._ended = True
            return
        try:
            found = self._decoder.feed(data)
        except FrameError as error:
            self._tunnel.close_with(error.code, error.reason)
            raise
        self._read += len(found)
        payloads: list[bytes] = []
        for item in found:
            if isinstance(item, frames.Piece):
                if item.opcode == frames.BINARY and item.payload:
                    payloads.append(item.payload)
            elif item.opcode == frames.PING:
                self._tunnel.answer_ping(item.payload)
            elif item.opcode == frames.CLOSE:
                self._tunnel.visitor_closes(frames.close_code(item.payload))
                self._ended = True
                break
        if payloads:
            self._ready = payloads[0] if len(payloads) == 1 else b"".join(payloads)
            self._tunnel.visitor_spoke()
