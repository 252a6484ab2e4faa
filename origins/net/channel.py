"""A connection as two plain directions of bytes that end one by one: what tunnels are made of."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from pyconnector.origins.failures import unreachable
from pyconnector.origins.net.reading import Reading
from pyconnector.origins.net.tls import alert_in

if TYPE_CHECKING:
    from pyconnector.origins.base import ByteReader, OriginError
    from pyconnector.origins.net.inbox import Source

#: Unsent bytes above which a writer waits, and at which it goes on.
WRITE_HIGH_WATER = 64 * 1024
WRITE_LOW_WATER = 16 * 1024
#: Largest piece read from the visitor at once.
PIECE_BYTES = 64 * 1024
#: Seconds a service may go on after the visitor ended, where TLS cannot tell it that one direction ended.
TLS_LINGER = 10.0
#: Seconds that what is queued has to leave once the connection is to be closed.
FLUSH_TIMEOUT = 30.0


class Sink(Protocol):
    """Where a channel puts what the service sends: an inbox, or what turns it into frames for one."""

    def put(self, data: bytes) -> None:
        """Take bytes."""

    def end(self) -> None:
        """The service ended its direction."""

    def fail(self, error: OriginError) -> None:
        """The service broke off."""

    def attach(self, source: Source | None) -> None:
        """Take what has to be paused when nobody reads."""


class Channel(Reading):
    """One connection to a service. `on_lost` is called once when it is gone altogether.

    With `hold` nothing of what the service says is handed on before `release`; one read of it is kept at most.
    """

    def __init__(self, sink: Sink, on_lost: Callable[[], None] | None = None, *, hold: bool = False) -> None:
        self._sink = sink
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._resumed: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._held: list[bytes] | None = [] if hold else None
        self._received_all = False
        self._sent_all = False
        self.write_paused = False
        self.is_lost = False

    # --- asyncio calls these ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a transport, new or used."""
        taken = cast("asyncio.Transport", transport)
        taken.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=WRITE_LOW_WATER)
        self._transport = taken
        self._sink.attach(taken)

    def data_received(self, data: bytes) -> None:
        """Hand on what arrived."""
        if self._held is None:
            self._sink.put(data)
        elif self._transport is not None:
            self._held.append(data)
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """End one direction; keep the other where the transport can."""
        self._received_all = True
        if self._held is None:
            self._sink.end()
        return not self._sent_all and self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of everything."""
        self.is_lost = True
        self._sink.attach(None)
        if not self._received_all:
            if exc is None:
                self._sink.end()
            else:
                self._sink.fail(unreachable(f"it broke the connection off{alert_in(exc)}"))
        if self._linger is not None:
            self._linger.cancel()
        self.resume_writing()
        if self._on_lost is not None:
            self._on_lost()

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.write_paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def release(self) -> None:
        """Hand on what was held, and all that follows."""
        held, self._held = self._held, None
        for data in held or ():
            self._sink.put(data)
        if held and self._transport is not None:
            self._transport.resume_reading()
        if self._received_all:
            self._sink.end()

    @property
    def is_connected(self) -> bool:
        """Whether it has, or had, a transport."""
        return self._transport is not None

    def local_address(self) -> tuple[str, int] | None:
        """This side's address and port, where it has one."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return (name[0], name[1]) if isinstance(name, tuple) else None

    # --- for the direction to the service ---

    def write(self, data: bytes) -> None:
        """Queue `data`; a no-op once the connection is gone."""
        if self._transport is not None and not self.is_lost and not self._sent_all:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the queue is at its low watermark, or nothing will ever be sent again. Cancel at any time."""
        if self.write_paused:
            self._resumed = self._loop.create_future()
            try:
                await self._resumed
            finally:
                self._resumed = None

    def write_eof(self) -> None:
        """End the direction to the service after what is queued. Idempotent."""
        if self._sent_all or self.is_lost or self._transport is None:
            return
        self._sent_all = True
        if self._received_all:
            self.close()
        elif self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):  # the service has reset it, and asyncio or uvloop says so here
                self._transport.abort()
        else:
            self._linger = self._loop.call_later(TLS_LINGER, self.close)

    def close(self) -> None:
        """Close after what is queued, which has `FLUSH_TIMEOUT` to leave. Idempotent."""
        self._sent_all = True
        if self._transport is None or self.is_lost:
            return
        self._transport.close()
        if self._linger is not None:
            self._linger.cancel()
        self._linger = self._loop.call_later(FLUSH_TIMEOUT, self._transport.abort)

    def abort(self, *, reset: bool = False) -> None:
        """Close at once; with `reset` the service sees a connection broken off, not one ended. Idempotent."""
        if self._transport is None:
            return
        if reset and not self.is_lost:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def pump(reader: ByteReader, channel: Channel) -> None:
    """Carry everything `reader` yields to `channel`, then its end. Cancel at any time: what was read was written."""
    while True:
        data = reader.receive_nowait(PIECE_BYTES)
        if data is None:
            data = await reader.receive(PIECE_BYTES)
        if not data:
            channel.write_eof()
            return
        channel.write(data)
        if channel.write_paused:
            await channel.drain()
