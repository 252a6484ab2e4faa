"""The h2 library (`web.http2.engine`) as a service meets it: our settings from the first frame on, and what is wrong
with one response ends its stream alone (RFC 9113 8.1.1), for other requests share the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import StreamReset
from h2.exceptions import FlowControlError, ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from pyconnector.web.http2.engine import Engine

if TYPE_CHECKING:
    from h2.events import Event
    from hyperframe.frame import Frame

#: Window of each stream: what an origin may send that its visitor did not take. Above it the inbox's own bound holds.
STREAM_WINDOW = 1024 * 1024
#: Window of the connection: that of all its streams together.
CONNECTION_WINDOW = 16 * 1024 * 1024
#: Largest field section of a response, each field counted with 32 bytes more (RFC 9113 6.5.2).
MAX_HEADER_LIST = 256 * 1024
#: As above, but of what is decoded at all: more ends the connection, for decoding costs time (RFC 9113 10.5.1).
MAX_DECODED = 2 * MAX_HEADER_LIST


class OriginEngine(Engine):
    """The client's end."""

    def __init__(self) -> None:
        super().__init__(client=True, max_decoded=MAX_DECODED)

    def start(self, connection_window: int) -> None:
        """Have the first frames ready to send."""
        # As initial values: what is merely assigned would wait for a second SETTINGS frame.
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        }
        self.local_settings = Settings(client=True, initial_values=values)
        self.initiate_connection()
        self.increment_flow_control_window(connection_window - 65_535)

    def _receive_frame(self, frame: Frame) -> list[Event]:
        """What a stream may not hold at this point of it is an error of that stream alone."""
        self.sections.take()
        stream = self.streams.get(frame.stream_id)
        was_open = stream is not None and stream.open
        try:
            return super()._receive_frame(frame)
        except ProtocolError as error:
            if not (was_open and self._is_of_one_stream(frame, error)):
                raise
            self._refuse(frame.stream_id)
            if isinstance(frame, DataFrame) and frame.flow_controlled_length:
                self.acknowledge_received_data(frame.flow_controlled_length, frame.stream_id)
            return [StreamReset(stream_id=frame.stream_id, error_code=ErrorCodes.PROTOCOL_ERROR, remote_reset=False)]

    def _refuse(self, stream_id: int) -> None:
        try:
            self.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
        except StreamClosedError:
            # The fault left the stream closed, but by nobody: what else comes for it would be an error of all.
            self.streams[stream_id].state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
            self._prepare_for_sending([RstStreamFrame(stream_id, ErrorCodes.PROTOCOL_ERROR)])

    def _is_of_one_stream(self, frame: Frame, error: ProtocolError) -> bool:
        # A section that was not decoded leaves the compression of all that follow unknown (RFC 7541 2.3.1).
        if isinstance(frame, DataFrame):
            return not isinstance(error, FlowControlError)
        return isinstance(frame, HeadersFrame) and self.sections.has_one
