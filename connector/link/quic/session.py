"""A connection over QUIC as a `Session`: this side opens the control stream, the edge all others (wire.md 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.link.session import QUIC, Session

if TYPE_CHECKING:
    from pyconnector.connector.link.quic.data_streams import DataStreams
    from pyconnector.transport.seam import Connection, Stream


class QuicSession(Session):
    """The QUIC form."""

    protocol = QUIC

    def __init__(self, connection: Connection, streams: DataStreams) -> None:
        super().__init__(connection, streams.running)
        self._streams = streams

    async def control_stream(self) -> Stream:
        """See `Session.control_stream`. Cancel at any time."""
        return await self.connection.open_stream()

    def serve(self) -> None:
        """See `Session.serve`."""
        self.connection.set_stream_handler(self._streams.accept)
