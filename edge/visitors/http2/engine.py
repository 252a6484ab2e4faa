"""The h2 library as the edge needs it: our settings from the first frame on, a life after GOAWAY, and field sections
that it decodes but does not judge, because what it finds wrong ends the connection (see `fields`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings
from hpack import Decoder, HPACKDecodingError

from pyconnector.edge.visitors.http2.frames import PREFACE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.events import Event
    from hpack import HeaderTuple

#: Streams of one visitor at once. What goes beyond is refused one by one (RFC 9113 5.1.2).
MAX_CONCURRENT_STREAMS = 256
#: Bytes of a request's header, each field counted with 32 more (RFC 9113 6.5.2). Above it a request is told 431.
MAX_HEADER_LIST = 64 * 1024
#: As above, but of what is decoded at all: more ends the connection, for decoding costs time (10.5.1).
MAX_DECODED = 2 * MAX_HEADER_LIST
#: Bytes of a header block before it is decoded, in whatever frames; more ends the connection.
MAX_BLOCK = MAX_DECODED
#: Bytes of one body that may be on their way before the tunnel took them.
STREAM_WINDOW = 256 * 1024
#: As above, for all bodies of one visitor together.
CONNECTION_WINDOW = 4 * 1024 * 1024


def server_engine() -> Engine:
    """Return a server's end that has its first frames ready to send and has read the preface."""
    engine = Engine(
        H2Configuration(
            client_side=False, header_encoding=None, validate_inbound_headers=False, normalize_inbound_headers=False
        )
    )
    # As initial values: what is merely assigned would wait for a second SETTINGS frame.
    engine.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_CONCURRENT_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        },
    )
    engine.initiate_connection()
    # What was said is not what the library enforces: it would end the connection over the first stream too many.
    engine.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: 2 * MAX_CONCURRENT_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_DECODED,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        },
    )
    engine.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
    engine.receive_data(PREFACE)
    return engine


class Engine(H2Connection):
    """The library takes a GOAWAY for the end of everything; streams under way go on (RFC 9113 6.8)."""

    #: Streams whose end is remembered, so that what is still on its way for them is no fault.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _LastingStates()
        self.sections = _Sections()
        self.decoder = self.sections

    def clear_outbound_data_buffer(self) -> None:
        """Keep what is to be sent: called where a GOAWAY arrives."""


class _Sections(Decoder):
    """Decodes field sections for us. The library gets none, so that it finds nothing wrong with them."""

    def __init__(self) -> None:
        super().__init__(max_header_list_size=MAX_DECODED)
        self._last: list[tuple[bytes, bytes]] = []

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Decode a block, as the library asks for; keep what is in it.

        Raises:
            HPACKDecodingError: it is none, or begins with more changes of the table's size than make sense.
        """
        if _begins_with_resizing(data):
            raise HPACKDecodingError("the size of the table changes more than twice")
        self._last = [(bytes(name), bytes(value)) for name, value in super().decode(data, raw=True)]
        return ()

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return the fields of the last section, once."""
        taken, self._last = self._last, []
        return taken


def _begins_with_resizing(block: bytes) -> bool:
    """Whether a block changes the size of the table more than twice (RFC 7541 4.2): thousands would fit into one."""
    at = changes = 0
    while at < len(block) and block[at] & 0xE0 == 0x20 and changes <= 2:
        changes += 1
        if block[at] & 0x1F == 0x1F:
            while at + 1 < len(block) and block[at + 1] & 0x80 and at < 64:
                at += 1
            at += 1
        at += 1
    return changes > 2


class _LastingStates(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)
