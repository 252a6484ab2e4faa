"""The h2 library (`web.http2.engine`) as visitors meet it: our settings from the first frame on."""

from __future__ import annotations

from h2.settings import SettingCodes, Settings

from pyconnector.web.http2.engine import Engine
from pyconnector.web.http2.frames import PREFACE

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
    engine = Engine(client=False, max_decoded=MAX_DECODED)
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
