"""The h2 library as the edge needs it: our settings from the first frame on, and a life after GOAWAY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings

if TYPE_CHECKING:
    from h2.events import Event

#: Streams of one visitor at once. One more ends the connection, for the visitor was told.
MAX_CONCURRENT_STREAMS = 256
#: Bytes of a request's header, each field counted with 32 more (RFC 9113 6.5.2).
MAX_HEADER_LIST = 64 * 1024
#: Bytes of one body that may be on their way before the tunnel took them.
STREAM_WINDOW = 256 * 1024
#: As above, for all bodies of one visitor together.
CONNECTION_WINDOW = 4 * 1024 * 1024


def server_engine() -> H2Connection:
    """Return a server's end that has its first frames ready to send."""
    engine = _Engine(H2Configuration(client_side=False, header_encoding=None))
    # As initial values: what is merely assigned would wait for a second SETTINGS frame.
    engine.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_CONCURRENT_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        },
    )
    engine.decoder.max_header_list_size = MAX_HEADER_LIST
    engine.initiate_connection()
    engine.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
    return engine


class _Engine(H2Connection):
    """The library takes a GOAWAY for the end of everything; streams under way go on (RFC 9113 6.8)."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _LastingStates()

    def clear_outbound_data_buffer(self) -> None:
        """Keep what is to be sent: called where a GOAWAY arrives."""


class _LastingStates(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)
