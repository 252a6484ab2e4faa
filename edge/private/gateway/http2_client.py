"""Clients of the gateway over HTTP/2 (RFC 9113 8.5): one connection, each stream a flow of its own.

Credit goes back to a client as its destinations take what it sends, and what is sent to it waits for its windows. Its
frames are read in slices, with a budget for those that carry nothing, as `transport.http2` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from pyconnector.edge.private.gateway.stream_client import StreamClient
from pyconnector.transport.http2 import Http2Settings

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.transport.http2 import Http2Connection, Http2Stream
    from pyconnector.transport.seam import Stream

#: Flows of one connection at once, and what may wait for their destinations.
SETTINGS: Final = Http2Settings(
    max_streams=1_000, max_header_list=64 * 1024, max_frame=64 * 1024, initial_stream_window=64 * 1024,
    stream_window=1024 * 1024, connection_window=8 * 1024 * 1024, keepalive=20.0, idle_timeout=60.0,
    extended_connect=True, resets=(1_000, 200.0), idle_frames=(1_000, 200.0),
)  # fmt: skip


class Http2Client(StreamClient):
    """One client's connection."""

    onramp = "http2-connect"

    def __init__(self, owner: Gateway, connection: Http2Connection) -> None:
        super().__init__(owner, connection)
        if self.is_served:
            connection.set_stream_handler(self._opened)

    def _opened(self, stream: Stream) -> None:
        self.begin(cast("Http2Stream", stream))
