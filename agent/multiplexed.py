"""One connection to the gateway that carries all flows, each as a stream of its own: over QUIC (RFC 9114 4.4, RFC
9220), or over HTTP/2 (RFC 9113 8.5, RFC 8441) where UDP is blocked.

It is made when a flow needs one, and made anew when it is gone: a flow costs no handshake, and ends each direction by
itself. A gateway that speaks HTTP/1.1 alone is remembered for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from pyconnector.agent.carry import PIECE
from pyconnector.agent.outgoing import open_protocol
from pyconnector.transport.errors import StreamReset, TransportError
from pyconnector.transport.http2 import Http2Settings, Http2Socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from pyconnector.agent.quic.way import QuicWay
    from pyconnector.transport.http2 import Http2Connection, Http2Stream
    from pyconnector.transport.http3 import Http3Connection, Http3Stream
    from pyconnector.transport.proxy.address import Proxy

    Fields = Sequence[tuple[bytes, bytes]]

#: What a gateway may send ahead, of one flow and of all; and when silence is looked into, and given up.
SETTINGS: Final = Http2Settings(
    max_streams=0, max_header_list=64 * 1024, initial_stream_window=256 * 1024, stream_window=2 * 1024 * 1024,
    connection_window=16 * 1024 * 1024, keepalive=10.0, idle_timeout=20.0,
)  # fmt: skip
#: Seconds for which a gateway that does not speak HTTP/2 is not asked again whether it does.
ASK_AGAIN: Final = 300.0
#: Connections that one flow is begun on, where they end before it is sent.
ATTEMPTS: Final = 3


class NoHttp2(Exception):
    """The gateway does not speak HTTP/2."""


class Multiplexed:
    """The connection to one gateway, as long as somebody wants one."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        proxy: Proxy | None = None,
        *,
        quic: QuicWay | None = None,
        only_quic: bool = False,
    ) -> None:
        """`quic` comes first; with `only_quic` nothing else does."""
        self.quic = quic
        self._only_quic = only_quic
        self._address = (host, port)
        self._tls = tls
        self._proxy = proxy
        self._connection: Http2Connection | None = None
        self._dialling = asyncio.Lock()
        self._no_http2_until = 0.0

    def __repr__(self) -> str:
        return f"<Multiplexed {self.quic!r} {self._connection!r}>"

    @property
    def protocol(self) -> str:
        """What carries what is opened now: quic, http2, or nothing yet."""
        if self.quic is not None and self.quic.is_up:
            return "quic"
        return "http2" if self._connection is not None and self._connection.closed is None else ""

    async def open(self, head: Fields) -> StreamEnd:
        """Send a request, and return its stream. Cancel leaves nothing open but the connection, for others.

        Raises:
            NoHttp2: the gateway does not speak it.
            OSError: it cannot be reached.
        """
        for attempt in range(ATTEMPTS):
            connection = await self._current()
            try:
                stream: Http2Stream | Http3Stream = await connection.open_request(list(head))
                return StreamEnd(stream, connection)
            except TransportError as error:  # it ended meanwhile: nothing of the request was served
                if attempt == ATTEMPTS - 1:
                    raise ConnectionError(f"its connections end at once: {error}") from error
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close the connection, and every flow of it. Idempotent. Cancel leaves some of it open."""
        if self.quic is not None:
            await self.quic.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _current(self) -> Http2Connection | Http3Connection:
        async with self._dialling:
            if self.quic is not None:
                if (over_quic := await self.quic.current()) is not None:
                    return over_quic
                if self._only_quic:
                    raise ConnectionError(self.quic.reason)
            connection = self._connection
            if connection is not None and connection.closed is None and connection.goaway is None:
                return connection
            loop = asyncio.get_running_loop()
            if loop.time() < self._no_http2_until:
                raise NoHttp2
            try:
                self._connection = await self._dial()
            except NoHttp2:
                self._no_http2_until = loop.time() + ASK_AGAIN
                raise
            return self._connection

    async def _dial(self) -> Http2Connection:
        host, port = self._address
        transport, made = await open_protocol(
            lambda: Http2Socket(client=True, settings=SETTINGS), host, port, tls=self._tls, server_name=host,
            proxy=self._proxy,
        )  # fmt: skip
        connection = made.connection
        assert connection is not None
        try:
            chosen = transport.get_extra_info("ssl_object")
            if chosen is not None and chosen.selected_alpn_protocol() == "http/1.1":
                raise NoHttp2
            await connection.ping()  # whoever answers speaks it, whatever was negotiated
        except TransportError as error:
            raise NoHttp2 from error
        except BaseException:
            connection.close()
            raise
        return connection


class StreamEnd:
    """A flow's stream, as an `End` of `agent.carry`."""

    half_closes = True

    def __init__(self, stream: Http2Stream | Http3Stream, connection: Http2Connection | Http3Connection) -> None:
        self.stream = stream
        self._connection = connection
        self._aborted = False

    @property
    def has_ended(self) -> bool:
        """See `Carrier.has_ended`."""
        return self.stream.peer_ended or self.stream.is_aborted or self._connection.closed is not None

    async def receive(self) -> bytes:
        """See `End.receive`."""
        try:
            return await self.stream.receive(PIECE)
        except TransportError as error:
            if self._aborted:
                return b""
            raise _gone(error) from error

    async def send(self, data: bytes) -> None:
        """See `End.send`."""
        try:
            await self.stream.send(data)
        except TransportError as error:
            raise _gone(error) from error

    def send_now(self, data: bytes, most: int) -> bool:
        """See `Carrier.send_now`."""
        if self.stream.engine_unsent_backlog() > most:
            return False
        try:
            self.stream.send_nowait(data)
        except TransportError:
            return False
        return True

    def finish(self) -> None:
        """See `End.finish`."""
        with contextlib.suppress(TransportError):
            self.stream.finish()

    def close(self) -> None:
        """See `End.close`."""
        self.finish()
        self.stream.stop()

    def abort(self) -> None:
        """See `End.abort`."""
        self._aborted = True
        self.stream.reset()
        self.stream.stop()


def _gone(error: TransportError) -> ConnectionResetError:
    what = "the gateway ended the flow" if isinstance(error, StreamReset) else f"the gateway is gone: {error}"
    return ConnectionResetError(what)
