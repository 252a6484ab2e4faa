"""A connection over QUIC as a `Session`: this side opens the control stream, the edge all others (wire.md 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.link.session import QUIC, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyconnector.connector.datagrams.carrier import DatagramLink
    from pyconnector.connector.link.quic.data_streams import DataStreams
    from pyconnector.transport.seam import Connection, Stream


class QuicSession(Session):
    """The QUIC form."""

    protocol = QUIC

    def __init__(
        self,
        connection: Connection,
        streams: DataStreams,
        make_datagrams: Callable[[Connection, Sequence[str]], DatagramLink] | None = None,
    ) -> None:
        """`make_datagrams` is called once the edge asks for UDP in whatever way: few do."""
        super().__init__(connection, streams.running)
        self._streams = streams
        self._make_datagrams = make_datagrams
        self._datagrams: DatagramLink | None = None

    async def control_stream(self) -> Stream:
        """See `Session.control_stream`. Cancel at any time."""
        return await self.connection.open_stream()

    def serve(self) -> None:
        """See `Session.serve`."""
        if self._make_datagrams is not None:
            self.connection.set_datagram_handler(self._first_datagram)
        self.connection.set_stream_handler(self._streams.accept)

    def datagrams(self) -> DatagramLink | None:
        """Return what serves the datagrams of this connection, made at the first call; None where nothing does."""
        if self._datagrams is None and self._make_datagrams is not None:
            self._datagrams = self._make_datagrams(self.connection, self.features)
            self.connection.set_datagram_handler(self._datagrams.receive)
        return self._datagrams

    def close(self) -> None:
        """See `Session.close`. UDP sessions end too."""
        super().close()
        self._make_datagrams = None
        if self._datagrams is not None:
            self._datagrams.close()

    def _first_datagram(self, data: bytes) -> None:
        if (link := self.datagrams()) is not None:
            link.receive(data)
