"""What the frames of a peer mean for the streams of an HTTP/2 connection (RFC 9113 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.transport.http2.core import WIDEST_WINDOW, ConnectionFault
from pyconnector.transport.http2.field_sections import MalformedFields
from pyconnector.transport.http2.stream import MAX_INTERIM, Http2Stream
from pyconnector.transport.seam import ConnectionClosedInfo
from pyconnector.web.http2 import frames
from pyconnector.web.http2.frames import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.http2.connection import Http2Connection
    from pyconnector.transport.http2.core import Core
    from pyconnector.transport.http2.frame_reader import Frame
    from pyconnector.transport.http2.liveness import Liveness
    from pyconnector.transport.http2.outgoing import Outgoing
    from pyconnector.transport.http2.settings import Http2Settings
    from pyconnector.transport.http2.stream import Fields

#: Longest text that is shown of a GOAWAY.
MAX_REASON = 256
#: Flags of a HEADERS frame that holds more than its block.
_BESIDE_BLOCK = frames.PADDED | frames.WITH_PRIORITY
#: Streams whose window a new setting moves for one unit of work.
MOVED_A_UNIT = 64


class Reception:
    """The meaning of what one peer sends."""

    def __init__(
        self, core: Core, owner: Http2Connection, outgoing: Outgoing, liveness: Liveness, settings: Http2Settings
    ) -> None:
        self._core = core
        self._owner = owner
        self._outgoing = outgoing
        self._liveness = liveness
        self._settings = settings
        self._settled = False  # the first SETTINGS are there
        self._block: bytearray | None = None  # of a field section that goes on in the next frame
        self._block_stream = self._block_flags = 0
        self._handlers: dict[int, Callable[[Frame], int | None]] = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.RST_STREAM: self._reset,
            frames.SETTINGS: self._settings_changed,
            frames.PUSH_PROMISE: self._push,
            frames.PING: self._ping,
            frames.GOAWAY: self._leaving,
            frames.WINDOW_UPDATE: self._window_opened,
            frames.CONTINUATION: self._continuation,
        }

    def take(self, frame: Frame) -> int:
        """Do what a frame stands for; return how many units of work that was beside the frame's own.

        Raises:
            ConnectionFault: it breaks the protocol so that nothing goes on.
        """
        if self._block is not None and (frame.kind != frames.CONTINUATION or frame.stream_id != self._block_stream):
            raise _fault("a field section is cut short")
        if not self._settled:
            if frame.kind != frames.SETTINGS:
                raise _fault("it begins without its settings")
            self._settled = True
        handler = self._handlers.get(frame.kind)  # others have no meaning here (RFC 9113 4.1)
        return (handler(frame) or 0) if handler is not None else 0

    # -- streams -------------------------------------------------------------------------------------------------

    def _headers(self, frame: Frame) -> None:
        block = frame.payload
        if frame.flags & _BESIDE_BLOCK:
            start, end = _content(frame)
            if frame.flags & frames.WITH_PRIORITY:
                start += 5
            if start > end:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is shorter than what it must hold")
            block = block[start:end]
        if frame.flags & frames.END_HEADERS:
            self._section(frame.stream_id, block, ended=bool(frame.flags & frames.END_STREAM))
        else:
            self._block, self._block_stream, self._block_flags = bytearray(block), frame.stream_id, frame.flags

    def _continuation(self, frame: Frame) -> None:
        block = self._block
        if block is None:
            raise _fault("a field section goes on that never began")
        block += frame.payload
        if frame.flags & frames.END_HEADERS:
            self._block = None
            self._section(frame.stream_id, bytes(block), ended=bool(self._block_flags & frames.END_STREAM))

    def _section(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        try:
            fields = self._core.decoder.decode(block)
        except MalformedFields as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        stream = self._owner.find(stream_id)
        if stream is None:
            if not self._owner.is_client and stream_id > self._core.last_peer_stream and stream_id & 1:
                self._request(stream_id, fields, ended=ended)
            elif not stream_id or self._owner.is_idle(stream_id):
                raise _fault("a field section belongs to no stream")
            # Else it was on its way while its stream was reset.
        elif stream.peer_ended:
            self._stream_fault(stream, ErrorCode.STREAM_CLOSED)
        elif self._owner.is_client and stream.head is None:
            self._response(stream, fields, ended=ended)
        elif not ended:
            self._stream_fault(stream, ErrorCode.PROTOCOL_ERROR)  # trailers end a stream
        else:
            stream.trailers = fields
            self._ended(stream)

    def _request(self, stream_id: int, fields: Fields, *, ended: bool) -> None:
        self._core.last_peer_stream = stream_id
        owner = self._owner
        if owner.goaway is not None or len(owner.streams) >= self._settings.max_streams:
            self._core.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = Http2Stream(
            owner, stream_id, fields, self._settings.initial_stream_window, self._core.first_send_window
        )
        if ended:
            stream.bodiless = True
            self._finish(stream)
        owner.peer_opened(stream)

    def _response(self, stream: Http2Stream, fields: Fields, *, ended: bool) -> None:
        if fields and fields[0][0] == b":status" and fields[0][1][:1] == b"1":
            stream.interim += 1
            if ended:
                self._stream_fault(stream, ErrorCode.PROTOCOL_ERROR)
            elif stream.interim > MAX_INTERIM:
                self._stream_fault(stream, ErrorCode.ENHANCE_YOUR_CALM)
            return
        stream.bodiless = ended
        stream.head_received(fields)
        if ended:
            self._ended(stream)

    def _data(self, frame: Frame) -> None:
        size, stream_id = len(frame.payload), frame.stream_id
        self._core.received(size)
        stream = self._owner.find(stream_id)
        if stream is None:
            if not stream_id or self._owner.is_idle(stream_id):
                raise _fault("data belongs to no stream")
            # Of a stream that was reset a moment ago: its bytes still count against the whole connection.
            self._owner.consumed_total += size
            return
        if stream.peer_ended:
            self._owner.consumed_total += size
            self._stream_fault(stream, ErrorCode.STREAM_CLOSED)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "it sends more than the window of a stream allows")
        start, end = _content(frame)
        if padding := size - (end - start):
            stream.engine_consumed(padding)
        if end > start:
            stream.data_received(frame.payload[start:end], False)
        if frame.flags & frames.END_STREAM:
            self._ended(stream)

    def _ended(self, stream: Http2Stream) -> None:
        self._finish(stream)
        if stream.end_sent:
            self._owner.over(stream)

    def _finish(self, stream: Http2Stream) -> None:
        stream.peer_ended = True
        stream.data_received(b"", True)

    def _reset(self, frame: Frame) -> None:
        code = _number(frame)
        if (stream := self._known(frame)) is not None:
            self._owner.peer_reset(stream, code)

    def _window_opened(self, frame: Frame) -> None:
        count = _number(frame) & WIDEST_WINDOW
        if not frame.stream_id:
            self._core.widen(count)
        elif (stream := self._known(frame)) is not None:
            stream.send_window += count
            if not count:
                self._stream_fault(stream, ErrorCode.PROTOCOL_ERROR)
            elif stream.send_window > WIDEST_WINDOW:
                self._stream_fault(stream, ErrorCode.FLOW_CONTROL_ERROR)
            else:
                self._outgoing.window_opened(stream)

    def _known(self, frame: Frame) -> Http2Stream | None:
        stream = self._owner.find(frame.stream_id)
        if stream is None and (not frame.stream_id or self._owner.is_idle(frame.stream_id)):
            raise _fault("a frame belongs to no stream")
        return stream

    def _stream_fault(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End a stream over what the peer did with it; the others go on."""
        self._core.reset(stream.stream_id, code)
        self._owner.peer_reset(stream, int(code))

    # -- the connection ------------------------------------------------------------------------------------------

    def _settings_changed(self, frame: Frame) -> int:
        if frame.stream_id:
            raise _fault("settings belong to a stream")
        if frame.flags & frames.ACK:
            return 0
        if len(frame.payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings are cut short")
        moved = self._core.settle(frame.payload)
        self._owner.streams_available()
        if not moved:
            return 0
        streams = [each for each in self._owner.streams.values() if isinstance(each, Http2Stream)]
        for stream in streams:
            stream.send_window += moved
            if stream.send_window > WIDEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "it opens a window too far")
        return self._outgoing.all_windows_moved() // 4 + len(streams) // MOVED_A_UNIT

    def _push(self, _frame: Frame) -> None:
        raise _fault("it pushes what nobody asked for")

    def _ping(self, frame: Frame) -> None:
        if frame.stream_id:
            raise _fault("a PING belongs to a stream")
        if len(frame.payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PING has not 8 bytes")
        if frame.flags & frames.ACK:
            self._liveness.answered(frame.payload)
        else:
            self._core.ping(frame.payload, answer=True)

    def _leaving(self, frame: Frame) -> None:
        if frame.stream_id:
            raise _fault("a GOAWAY belongs to a stream")
        if len(frame.payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is cut short")
        body = frame.payload
        last, code = int.from_bytes(body[:4]) & WIDEST_WINDOW, int.from_bytes(body[4:8])
        reason = body[8 : 8 + MAX_REASON].decode("utf-8", "replace") or "the peer is leaving"
        self._owner.peer_leaves(ConnectionClosedInfo(code=code, reason=reason, local=False, idle=False), last)


def _fault(reason: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, reason)


def _number(frame: Frame) -> int:
    if len(frame.payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame that holds one number has not 4 bytes")
    return int.from_bytes(frame.payload)


def _content(frame: Frame) -> tuple[int, int]:
    """Where what a frame of a stream holds begins and ends: without its padding (RFC 9113 6.1)."""
    end = len(frame.payload)
    if not frame.flags & frames.PADDED:
        return 0, end
    if not end:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is shorter than what it must hold")
    end -= frame.payload[0]
    if end <= 0:
        raise _fault("a frame holds nothing but more padding than it has")
    return 1, end
