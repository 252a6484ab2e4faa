"""What the events of the library mean for the streams of an HTTP/2 connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2 import events
from h2.errors import ErrorCodes

from pyconnector.transport.http2.stream import MAX_INTERIM, Http2Stream
from pyconnector.transport.seam import ConnectionClosedInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event

    from pyconnector.transport.http2.connection import Http2Connection
    from pyconnector.transport.http2.engine import Engine
    from pyconnector.transport.http2.liveness import Liveness
    from pyconnector.transport.http2.outgoing import Outgoing
    from pyconnector.transport.http2.settings import Http2Settings

#: Longest text that is shown of a GOAWAY.
MAX_REASON = 256


class Reception:
    """The meaning of what one peer sends."""

    def __init__(
        self, engine: Engine, owner: Http2Connection, outgoing: Outgoing, liveness: Liveness, settings: Http2Settings
    ) -> None:
        self._h2 = engine
        self._owner = owner
        self._outgoing = outgoing
        self._liveness = liveness
        self._settings = settings
        self._handlers: dict[type[Event], Callable[[Any], int | None]] = {
            events.DataReceived: self._data,
            events.RequestReceived: self._request,
            events.ResponseReceived: self._response,
            events.InformationalResponseReceived: self._interim,
            events.TrailersReceived: self._trailers,
            events.StreamEnded: self._ended,
            events.StreamReset: self._reset,
            events.WindowUpdated: self._window_opened,
            events.RemoteSettingsChanged: self._settings_changed,
            events.PingAckReceived: self._pong,
            events.ConnectionTerminated: self._leaving,
        }

    def take(self, event: Event) -> int:
        """Do what an event stands for; return how many units of work that was beside the frame's own."""
        handler = self._handlers.get(type(event))
        return (handler(event) or 0) if handler is not None else 0

    def _trailers(self, event: events.TrailersReceived) -> None:
        fields = self._h2.sections.take()
        if (stream := self._owner.find(event.stream_id)) is not None:
            stream.trailers = fields

    def _window_opened(self, event: events.WindowUpdated) -> None:
        self._outgoing.window_opened(self._owner.find(event.stream_id) if event.stream_id else None)

    def _settings_changed(self, _event: events.RemoteSettingsChanged) -> int:
        self._owner.streams_available()
        return self._outgoing.all_windows_moved() // 4

    def _pong(self, event: events.PingAckReceived) -> None:
        self._liveness.answered(bytes(event.ping_data))

    def _request(self, event: events.RequestReceived) -> None:
        stream = Http2Stream(
            self._owner, event.stream_id, self._h2.sections.take(), self._settings.initial_stream_window
        )
        if self._owner.goaway is not None or len(self._owner.streams) >= self._settings.max_streams:
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if event.stream_ended is not None:
            stream.bodiless = True
            self._finish(stream)
        self._owner.peer_opened(stream)

    def _response(self, event: events.ResponseReceived) -> None:
        fields = self._h2.sections.take()
        if (stream := self._owner.find(event.stream_id)) is not None:
            stream.bodiless = event.stream_ended is not None
            stream.head_received(fields)

    def _interim(self, event: events.InformationalResponseReceived) -> None:
        if (stream := self._owner.find(event.stream_id)) is not None:
            stream.interim += 1
            if stream.interim > MAX_INTERIM:
                self._h2.reset_stream(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
                self._owner.peer_reset(stream, int(ErrorCodes.ENHANCE_YOUR_CALM))

    def _data(self, event: events.DataReceived) -> None:
        size = event.flow_controlled_length
        stream = self._owner.find(event.stream_id)
        if stream is None:
            # Of a stream that was reset a moment ago: its bytes still count against the whole connection.
            self._owner.consumed_total += size
            return
        if padding := size - len(event.data):
            stream.engine_consumed(padding)
        if event.data:
            stream.data_received(bytes(event.data), False)

    def _ended(self, event: events.StreamEnded) -> None:
        if (stream := self._owner.find(event.stream_id)) is not None:
            self._finish(stream)
            if stream.end_sent:
                self._owner.over(stream)

    def _finish(self, stream: Http2Stream) -> None:
        if not stream.peer_ended:
            stream.peer_ended = True
            stream.data_received(b"", True)

    def _reset(self, event: events.StreamReset) -> None:
        if (stream := self._owner.find(event.stream_id)) is not None:
            self._owner.peer_reset(stream, int(event.error_code or 0))

    def _leaving(self, event: events.ConnectionTerminated) -> None:
        reason = (event.additional_data or b"")[:MAX_REASON].decode("utf-8", "replace") or "the peer is leaving"
        info = ConnectionClosedInfo(code=int(event.error_code or 0), reason=reason, local=False, idle=False)
        self._owner.peer_leaves(info, event.last_stream_id or 0)
