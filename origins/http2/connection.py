"""One HTTP/2 connection to a service, on the h2 library: many exchanges, their frames and their credit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2 import config, events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from pyconnector.origins.failures import broke_protocol, unreachable
from pyconnector.origins.http2.exchange import Exchange, Unprocessed
from pyconnector.origins.http2.lasting import LastingConnection
from pyconnector.origins.net.tls import alert_in

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pyconnector.origins.base import Headers

#: Window of each stream: what an origin may send that its visitor did not take. Above it the inbox's own bound holds.
STREAM_WINDOW = 1024 * 1024
#: Window of the connection: that of all its streams together.
CONNECTION_WINDOW = 16 * 1024 * 1024
#: Largest header block of a response.
MAX_HEADER_LIST = 256 * 1024
#: Streams opened on one connection at most at once, whatever the origin allows.
MAX_STREAMS = 1000
#: Streams opened before the first SETTINGS of a service tell its limit (RFC 9113 6.5.2 recommends no less), where no
#: earlier connection has told it.
FIRST_STREAMS = 100
#: Informational (1xx) responses that are passed over before a final one.
MAX_INFORMATIONAL = 32
#: Bytes without one whole frame among them: h2 itself would gather the 16 MiB that a frame may claim to have.
MAX_SILENCE = 512 * 1024
#: Resets by the origin after which a connection is given up (RFC 9113 10.5).
MAX_RESETS = 10_000

_Event = events.Event


class Http2Connection(asyncio.Protocol):
    """The client's end. `on_change` is told whenever room, or the will to take more, may have changed.

    `stream_limit` is what the service is taken to allow until it says so itself.
    """

    def __init__(self, on_change: Callable[[Http2Connection], None], stream_limit: int = FIRST_STREAMS) -> None:
        self._h2 = LastingConnection(config.H2Configuration(client_side=True, header_encoding=None))
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._informational: dict[int, int] = {}
        self._room: asyncio.Event = asyncio.Event()
        self._flush_due = False
        self._loop = asyncio.get_running_loop()
        self._resets = 0
        self._heard = False
        self._silence = 0
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
        h2 = self._h2
        # As initial values: what is merely assigned would wait for a second SETTINGS frame.
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        }
        h2.local_settings = Settings(client=True, initial_values=values)
        h2.initiate_connection()
        h2.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if not self._heard and data.startswith(b"HTTP/"):
            self._fail_all(broke_protocol("it speaks HTTP/1.1 where HTTP/2 is expected"))
            self.close()
            return
        self._heard = True
        try:
            received = self._h2.receive_data(data)
            for event in received:
                self._take(event)
            # Data of streams that were reset makes no events, but answers.
            answered = self.flush()
            self._silence = 0 if received or answered else self._silence + len(data)
            if self._silence > MAX_SILENCE:
                raise ProtocolError("no frame ends")
        except (ProtocolError, ValueError, IndexError) as error:
            # h2 raises its own errors for nearly everything; the other two come from its HPACK corner cases.
            self._fail_all(broke_protocol(f"its HTTP/2 is wrong ({type(error).__name__})"))
            self.close()

    def eof_received(self) -> None:
        """The service leaves."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of everything."""
        self.is_open = False
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
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            self.flush()
            self._on_change(self)

    def close(self) -> None:
        """Close after what is queued. Idempotent."""
        self.is_open = False
        if self._transport is not None:
            if self._h2.state_machine.state.name != "CLOSED":
                self._h2.close_connection()
            self.flush()
            # Over TLS a plain close waits for the service's own, perhaps for half a minute.
            if self._transport.get_write_buffer_size():
                self._transport.close()
            else:
                self._transport.abort()

    def flush(self) -> bool:
        """Hand the transport what h2 has to send; False where that is nothing."""
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
        return bool(data)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush()

    # -- events ----------------------------------------------------------------------------------------------------

    def _take(self, event: _Event) -> None:
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.ResponseReceived):
            self._response(event)
        elif isinstance(event, events.InformationalResponseReceived):
            self._count_informational(event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            exchange = self._exchanges.get(event.stream_id)
            if exchange is not None:
                exchange.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.StreamEnded):
            self._over(event.stream_id, None)
        elif isinstance(event, events.StreamReset):
            self._stream_reset(event)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            if isinstance(event, events.RemoteSettingsChanged):
                self.stream_limit = min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)
            self._wake_senders()
            self._on_change(self)
        elif isinstance(event, events.ConnectionTerminated):
            self._goaway(event)

    def _data(self, event: events.DataReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.data(b"" if exchange.is_bodiless else event.data, event.flow_controlled_length)
        elif event.flow_controlled_length:
            # Of a stream that was reset a moment ago: its bytes still count against the whole connection.
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _response(self, event: events.ResponseReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        status = next((value for name, value in headers if name == b":status"), b"")
        if len(status) != 3 or not status.isdigit():
            self._fail_stream(event.stream_id, "its :status is no status")
            return
        exchange.responded(int(status), [field for field in headers if not field[0].startswith(b":")])

    def _count_informational(self, stream_id: int) -> None:
        count = self._informational[stream_id] = self._informational.get(stream_id, 0) + 1
        if count > MAX_INFORMATIONAL:
            self._fail_stream(stream_id, f"more than {MAX_INFORMATIONAL} interim responses")

    def _fail_stream(self, stream_id: int, cause: str) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            self.reset(stream_id)
            exchange.failed(broke_protocol(cause))

    def _stream_reset(self, event: events.StreamReset) -> None:
        self._resets += event.remote_reset
        if not event.remote_reset:
            exchange = self._exchanges.get(event.stream_id)
            broken = broke_protocol("its body is not as long as its content-length says")
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
                self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)  # or it would stay half open for ever
        else:
            exchange.failed(error)
        self._wake_senders()
        self._on_change(self)

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
