"""Clients of the gateway over HTTP/3 (RFC 9114 4.4, RFC 9220): one QUIC connection, each request a flow of its own.

Credit goes back to a client as its destinations take what it sends. UDP travels in HTTP datagrams beside the streams
(RFC 9297), and in capsules where a client or the path takes none so long.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from pyconnector.edge.private.gateway.stream_client import StreamClient
from pyconnector.transport.http3 import Http3Connection
from pyconnector.transport.http3.connection import UNIDIRECTIONAL
from pyconnector.transport.settings import QuicSettings
from pyconnector.web.http2.budget import Budget
from pyconnector.web.http3.frames import ErrorCode

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.transport.buffers.connection import BufferedConnection
    from pyconnector.transport.seam import Connection

#: Flows of one connection at once, and what may wait for their destinations.
SETTINGS: Final = QuicSettings(
    incoming_streams=1_000, incoming_unidirectional=UNIDIRECTIONAL, idle_timeout=60.0,
    keepalive=20.0, initial_stream_window=64 * 1024, stream_window=1024 * 1024,
    connection_window=8 * 1024 * 1024, initial_connection_window=8 * 1024 * 1024,
)  # fmt: skip
#: Flows that a client may take back: at once, and each second.
TAKEN_BACK, TAKEN_BACK_A_SECOND = 1_000, 200.0


class Http3Client(StreamClient):
    """One client's connection."""

    onramp = "http3-connect"

    def __init__(self, owner: Gateway, quic: Connection) -> None:
        """Raises TransportError: the client allows no control stream."""
        self._taken_back = Budget(TAKEN_BACK, TAKEN_BACK_A_SECOND)
        connection = Http3Connection(cast("BufferedConnection", quic), client=False, later=owner.turns.add)
        super().__init__(owner, connection)
        if self.is_served:
            connection.begin(self.begin)

    def ended(self, *, taken_back: bool) -> None:
        """See `StreamClient.ended`: whoever opens flows to take them back costs work, and is cut off."""
        super().ended(taken_back=taken_back)
        if taken_back and not self._taken_back.spend(asyncio.get_running_loop().time()):
            self._connection.close(ErrorCode.EXCESSIVE_LOAD, "too many requests are taken back")
