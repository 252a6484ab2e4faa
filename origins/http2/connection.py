"""One HTTP/2 connection to a service, on the h2 library: many exchanges, their frames and their credit.

What frames cost is the business of `incoming`, a slice in each turn of the loop; here is what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from pyconnector.origins.failures import broke_protocol, unreachable
from pyconnector.origins.http2.engine import CONNECTION_WINDOW, OriginEngine
from pyconnector.origins.http2.exchange import Exchange, Unprocessed
from pyconnector.origins.http2.incoming import Incoming
from pyconnector.origins.http2.response import check_response, check_trailers
from pyconnector.origins.net.tls import alert_in
from pyconnector.web.http2.fields import Malformed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection

    from pyconnector.origins.base import Headers

#: Streams opened on one connection at most at once, whatever the origin allows.
MAX_STREAMS = 1000
#: Streams opened before the first SETTINGS of a service tell its limit (RFC 9113 6.5.2 recommends no less), where no
#: earlier connection has told it.
FIRST_STREAMS = 100
#: Informational (1xx) responses that are passed over before a final one.
MAX_INFORMATIONAL = 32
#: Resets by the origin after which a connection is given up (RFC 9113 10.5).
MAX_RESETS = 10_000
#: What a service's frames may cost in one turn of the loop (`RawFrame.cost`); the rest waits for others' turns.
SLICE = 64
#: Unread bytes of ours above which a service is given up: only answers to its own frames can make so many.
MAX_UNSENT = 4 * 1024 * 1024

#: What is wrong with a body that is longer or shorter than was said.
WRONG_LENGTH = "its body is not as long as its content-length says"

_Event = events.Event


class Http2Connection(asyncio.Protocol):
    """The client's end. `on_change` is told whenever room, or the will to take more, may have changed.

    `stream_limit` is what the service is taken to allow until it says so itself.
    """

    def __init__(self, on_change: Callable[[Http2Connection], None], stream_limit: int = FIRST_STREAMS) -> None:
        self._h2 = OriginEngine()
        self._incoming = Incoming(self._h2, self)
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._informational: dict[int, int] = {}
        self._room: asyncio.Event = asyncio.Event()
        self._flush_due = False
        self._loop = asyncio.get_running_loop()
        self._resets = 0
        self._heard = False
        self._held = False  # reading stopped: frames wait for their turn
        self._moved = False  # windows opened, or limits changed, in this slice
        self.closing = False
        "No frame is read any more."
        self.stream_limit = stream_limit
        "Exchanges that the service allows at once, as far as is known."
        self.write_paused = False
        self.is_open = True
        "Whether new exchanges may start."

    def __repr__(self) -> str:
        return f"<Http2Connection {'open' if self.is_open else 'closing'}, {len(self._exchanges)} exchanges>"

    @property
    def active(self) -> int:
        """Exchanges under way."""
        return len(self._exchanges)

    @property
    def has_room(self) -> bool:
        """Whether one more exchange may start now."""
        return self.is_open and self._transport is not None and len(self._exchanges) < self.stream_limit

    # -- asyncio calls these ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, unless the service chose to speak something else."""
        self._transport = cast("asyncio.Transport", transport)
        if not speaks_http2(transport):
            return
        self._h2.start(CONNECTION_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take frames: a slice at once, the rest in later turns."""
        if self.closing:
            return
        if not self._heard and data.startswith(b"HTTP/"):
            self.fail("it speaks HTTP/1.1 where HTTP/2 is expected")
            return
        self._heard = True
        self._incoming.feed(data)
        if not self._held:
            self._work()

    def _work(self) -> None:
        """Read a slice of what waits."""
        if self.closing:
            return
        self._incoming.work(SLICE)
        if self._moved:
            self._moved = False
            self._wake_senders()
            self._on_change(self)
        self.flush()
        self._after_work()

    def _after_work(self) -> None:
        transport = self._transport
        if self.closing or transport is None:
            return
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self.fail("it does not read the answers to its own frames", ErrorCodes.ENHANCE_YOUR_CALM)
            transport.abort()
        elif self._incoming.has_more:
            if not self._held:
                self._held = True
                transport.pause_reading()
            self._loop.call_soon(self._work)
        elif self._held:
            self._held = False
            transport.resume_reading()

    def eof_received(self) -> None:
        """The service leaves."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of everything."""
        self.is_open = False
        self.closing = True
        self._transport = None
        self._fail_all(unreachable(f"it closed its HTTP/2 connection{alert_in(exc)}"), lost=True)
        self.resume_writing()
        self._on_change(self)

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.write_paused = False
        self._wake_senders()

    # -- exchanges -------------------------------------------------------------------------------------------------

    def begin(self, headers: Headers, *, finish: bool) -> Exchange:
        """Send a request's header; there must be room.

        Raises:
            Unprocessed: the connection just ended, or ran out of stream numbers.
        """
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream_id, headers, end_stream=finish)
        except (ProtocolError, ValueError) as error:
            self.is_open = False
            self._on_change(self)
            raise Unprocessed("its HTTP/2 connection takes no more requests") from error
        exchange = self._exchanges[stream_id] = Exchange(
            stream_id, self, head_only=(b":method", b"HEAD") in headers[:4]
        )
        exchange.upload_ended = finish
        self.flush()
        return exchange

    async def send(self, exchange: Exchange, data: bytes) -> None:
        """Send `data` as far and as fast as the origin's windows allow. Cancel leaves part of it sent.

        Raises:
            Unprocessed: the exchange is over.
        """
        view = memoryview(data)
        while view:
            if exchange.stream_id not in self._exchanges or self._transport is None:
                raise Unprocessed("the exchange is over")
            window = min(
                self._h2.local_flow_control_window(exchange.stream_id), self._h2.max_outbound_frame_size, len(view)
            )
            if window <= 0 or self.write_paused:
                self._room.clear()
                await self._room.wait()
                continue
            self._h2.send_data(exchange.stream_id, bytes(view[:window]))
            self._incoming.data_sent()
            view = view[window:]
            self.flush()

    def end(self, exchange: Exchange) -> None:
        """End the request's body."""
        if exchange.stream_id in self._exchanges and self._transport is not None:
            exchange.upload_ended = True
            self._h2.end_stream(exchange.stream_id)
            self.flush()

    def acknowledge(self, stream_id: int, count: int) -> None:
        """See `Carrier.acknowledge`."""
        if self._transport is not None:
            self._h2.acknowledge_received_data(count, stream_id)
            self._flush_soon()

    def reset(self, stream_id: int) -> None:
        """See `Carrier.reset`."""
        if self._exchanges.pop(stream_id, None) is not None and self._transport is not None:
            self._informational.pop(stream_id, None)
            self._cancel(stream_id)
            self.flush()
            self._on_change(self)

    def close(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Close after what is queued. Idempotent."""
        self.is_open = False
        self.closing = True
        if self._transport is not None:
            if self._h2.state_machine.state.name != "CLOSED":
                self._h2.close_connection(code)
            self.flush()
            if self._held:
                self._transport.resume_reading()  # or its end would not be seen
            # Over TLS a plain close waits for the service's own, perhaps for half a minute.
            if self._transport.get_write_buffer_size():
                self._transport.close()
            else:
                self._transport.abort()

    def flush(self) -> None:
        """Hand the transport what h2 has to send."""
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush()

    # -- what comes (see `incoming.Receiver`) ------------------------------------------------------------------------

    @property
    def streams(self) -> Collection[int]:
        """See `Receiver.streams`."""
        return self._exchanges

    def now(self) -> float:
        """See `Receiver.now`."""
        return self._loop.time()

    def fail(self, cause: str, code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        """See `Receiver.fail`."""
        self._fail_all(broke_protocol(cause))
        self.close(code)

    def give_up(self, stream_id: int, cause: str) -> None:
        """See `Receiver.give_up`."""
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            self.reset(stream_id)
            exchange.failed(broke_protocol(cause))

    def take(self, event: _Event) -> None:
        """See `Receiver.take`."""
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.ResponseReceived):
            self._response(event)
        elif isinstance(event, events.InformationalResponseReceived):
            self._count_informational(event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            self._trailers(event)
        elif isinstance(event, events.StreamEnded):
            self._ended(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self._stream_reset(event)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            if isinstance(event, events.RemoteSettingsChanged):
                self.stream_limit = min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)
            self._moved = True
        elif isinstance(event, events.ConnectionTerminated):
            self._goaway(event)

    def _data(self, event: events.DataReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None or exchange.is_bodiless or not exchange.takes(len(event.data)):
            if event.flow_controlled_length:
                # Nobody's, but its bytes count against the whole connection.
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if exchange is None or not event.data:
                return
            self._cancel(event.stream_id)
            self._over(event.stream_id, None if exchange.is_bodiless else broke_protocol(WRONG_LENGTH))
            return
        exchange.data(event.data, event.flow_controlled_length)

    def _response(self, event: events.ResponseReceived) -> None:
        fields = self._h2.sections.take()
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        try:
            status, headers, length = check_response(fields)
        except Malformed as error:
            self.give_up(event.stream_id, str(error))
            return
        exchange.responded(status, headers, length)

    def _trailers(self, event: events.TrailersReceived) -> None:
        fields = self._h2.sections.take()
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        try:
            exchange.trailers = check_trailers(fields)
        except Malformed as error:
            self.give_up(event.stream_id, str(error))

    def _ended(self, stream_id: int) -> None:
        exchange = self._exchanges.get(stream_id)
        short = exchange is not None and exchange.is_short
        self._over(stream_id, broke_protocol(WRONG_LENGTH) if short else None)

    def _count_informational(self, stream_id: int) -> None:
        count = self._informational[stream_id] = self._informational.get(stream_id, 0) + 1
        if count > MAX_INFORMATIONAL:
            self.give_up(stream_id, f"more than {MAX_INFORMATIONAL} interim responses")

    def _stream_reset(self, event: events.StreamReset) -> None:
        self._resets += event.remote_reset
        if not event.remote_reset:
            exchange = self._exchanges.get(event.stream_id)
            broken = broke_protocol("its frames are not those of a response")
            self._over(event.stream_id, None if exchange is not None and exchange.is_bodiless else broken)
        elif event.error_code == ErrorCodes.REFUSED_STREAM:
            self._over(event.stream_id, Unprocessed("it refused the stream"))
        elif event.error_code == ErrorCodes.NO_ERROR:
            # Behind a complete response it says that the rest of the upload is unwanted (RFC 9113 8.1), but then the
            # exchange is over already.
            self._over(event.stream_id, unreachable("it gave no whole answer"))
        else:
            self._over(event.stream_id, unreachable(f"it reset the stream with code {int(event.error_code or 0)}"))
        if self._resets > MAX_RESETS:
            self.is_open = False

    def _goaway(self, event: events.ConnectionTerminated) -> None:
        self.is_open = False
        last = event.last_stream_id or 0
        for stream_id in [number for number in self._exchanges if number > last]:
            self._over(stream_id, Unprocessed("it is shutting down"))
        self._on_change(self)

    def _over(self, stream_id: int, error: Exception | None) -> None:
        exchange = self._exchanges.pop(stream_id, None)
        self._informational.pop(stream_id, None)
        if exchange is None:
            return
        if error is None:
            exchange.completed()
            if not exchange.upload_ended and self._transport is not None:
                self._cancel(stream_id)  # or it would stay half open for ever
        else:
            exchange.failed(error)
        self._wake_senders()
        self._on_change(self)

    def _cancel(self, stream_id: int) -> None:
        """Say that nothing more of a stream is wanted."""
        with contextlib.suppress(ProtocolError):  # it is over for the library
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._incoming.stream_given_up()

    def _fail_all(self, error: Exception, *, lost: bool = False) -> None:
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        for exchange in exchanges:
            exchange.failed(error)
        self._wake_senders()
        if not lost:
            self.is_open = False

    def _wake_senders(self) -> None:
        self._room.set()


def speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether a service chose HTTP/2 by ALPN; without TLS there was no choice."""
    session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return session is None or session.selected_alpn_protocol() == "h2"
