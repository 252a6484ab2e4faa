"""The callbacks of a TLS socket that speaks HTTP/2, for the connection that is made of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.transport.http2.connection import Http2Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.http2.settings import Http2Settings

#: Bytes that are read at once before there is a connection.
EARLY = 64 * 1024


class Http2Socket(asyncio.BufferedProtocol):
    """One socket. `on_connection` is given the connection as soon as the handshake is complete."""

    def __init__(
        self,
        *,
        client: bool,
        settings: Http2Settings,
        on_connection: Callable[[Http2Connection], None] | None = None,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._on_connection = on_connection
        self._later = later
        self.connection: Http2Connection | None = None
        self._early = b""
        self._early_room = memoryview(b"")
        self._ended: tuple[Exception | None] | None = None

    def __repr__(self) -> str:
        return f"<Http2Socket {self.connection!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is complete."""
        connection = self.connection = Http2Connection(
            cast("asyncio.Transport", transport), client=self._client, settings=self._settings, later=self._later
        )
        if self._on_connection is not None:
            self._on_connection(connection)
        early, self._early = self._early, b""
        connection.socket_received(early)
        if self._ended is not None:
            connection.socket_lost(*self._ended)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend what is read into. Before `connection_made`, which `loop.start_tls` leaves to its caller, what a turn of
        the loop reads waits for it."""
        if self.connection is not None:
            return self.connection.socket_room()
        self._early_room = memoryview(bytearray(EARLY))
        return self._early_room

    def buffer_updated(self, nbytes: int) -> None:
        """Frames came."""
        if self.connection is not None:
            self.connection.socket_filled(nbytes)
        else:
            self._early += self._early_room[:nbytes]

    def data_received(self, data: bytes) -> None:
        """Frames came by other ways, such as before it was known that they are frames."""
        if self.connection is not None:
            self.connection.socket_received(data)
        else:
            self._early += data

    def eof_received(self) -> bool:
        """HTTP/2 knows no half of a connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._ended = (exc,)
        if self.connection is not None:
            self.connection.socket_lost(exc)

    def pause_writing(self) -> None:
        """The peer takes less than comes."""
        if self.connection is not None:
            self.connection.socket_paused(paused=True)

    def resume_writing(self) -> None:
        """The peer took enough."""
        if self.connection is not None:
            self.connection.socket_paused(paused=False)
