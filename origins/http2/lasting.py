"""An HTTP/2 connection that outlives GOAWAY, and a body of the wrong length: other streams go on (RFC 9113 6.8, 8.1.1).

The h2 library takes a GOAWAY for the end of everything and refuses whatever comes after it. A service that shuts down
gracefully, as every gRPC server does when its connections grow old, sends it first and the rest of its answers then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import StreamReset
from h2.exceptions import InvalidBodyLengthError
from hyperframe.frame import DataFrame

if TYPE_CHECKING:
    from h2.config import H2Configuration
    from h2.events import Event
    from hyperframe.frame import Frame


class LastingConnection(H2Connection):
    """`ConnectionTerminated` says that a GOAWAY came; what to do then is up to its owner."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _LastingStates()

    def clear_outbound_data_buffer(self) -> None:
        """Keep what is to be sent: called where a GOAWAY arrives."""

    def _receive_frame(self, frame: Frame) -> list[Event]:
        """A body of another length than was said is an error of its stream alone (RFC 9113 8.1.1)."""
        try:
            return super()._receive_frame(frame)
        except InvalidBodyLengthError:
            stream_id = frame.stream_id
            self.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            if isinstance(frame, DataFrame) and frame.flow_controlled_length:
                self.acknowledge_received_data(frame.flow_controlled_length, stream_id)
            return [StreamReset(stream_id=stream_id, error_code=ErrorCodes.PROTOCOL_ERROR, remote_reset=False)]


class _LastingStates(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)
