"""The seam between one attempt to be connected and the form of the tunnel protocol that it speaks.

How a connection gets its control stream, serves requests, knows that what it sent was delivered, and ends. One form for
QUIC (`connector.link.quic.session`), one for HTTP/2 (`connector.link.http2.session`); whoever dials returns one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.connector.requests.running import RunningRequests
    from pyconnector.transport.seam import Connection, ConnectionClosedInfo, Statistics, Stream

#: Names of the protocols, as `--protocol` and the reference's log have them.
QUIC, HTTP2 = "quic", "http2"
#: Seconds between looks at whether a drained connection's streams were delivered.
DELIVERY_INTERVAL = 0.01
#: Looks in succession that must find nothing under way.
DELIVERY_LOOKS = 3


class Session(ABC):
    """One connection to the edge, and what is served on it."""

    protocol: str
    "`QUIC` or `HTTP2`."

    def __init__(self, connection: Connection, running: RunningRequests) -> None:
        self.connection = connection
        self.running = running
        self.features: tuple[str, ...] = ()
        "What it registered with."

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.running.active} requests, {self.connection!r}>"

    @property
    def origin_ip(self) -> str:
        """This machine's address for the registration; empty where the edge's own takes its place (wire.md 5.2)."""
        return ""

    @abstractmethod
    async def control_stream(self) -> Stream:
        """Return the stream for the registration, once it is there. Called once. Cancel at any time.

        Raises:
            TransportError: the connection ended first, or the edge asks for none in time.
        """

    @abstractmethod
    def serve(self) -> None:
        """Serve the edge's requests from here on."""

    def statistics(self) -> Statistics:
        """Return the counters of the connection as they are now."""
        return self.connection.statistics()

    @property
    def requests_left(self) -> int:
        """How many requests are not over: being served, or served and not delivered."""
        return max(self.running.active, self.statistics().streams_open - 1)

    async def delivered(self) -> None:
        """Wait until the edge has all that was sent: every stream but the control stream is over, or nothing is under
        way.

        Closing forgets what is still queued or was lost: answers whose requests count as served here. Streams may stay
        open though nothing is: an edge need not answer that it was asked to stop. Cancel at any time.
        """
        looks = 0  # in succession that found nothing under way: between a loss and sending again one may be wrong
        while looks < DELIVERY_LOOKS and (now := self.statistics()).streams_open > 1:
            looks = 0 if now.bytes_undelivered or self.running.active else looks + 1
            await asyncio.sleep(DELIVERY_INTERVAL)

    def close(self) -> None:
        """Close the connection at once. Idempotent."""
        self.connection.close()

    async def wait_closed(self) -> ConnectionClosedInfo:
        """Wait until the connection ended, and say how. Cancel at any time."""
        return await self.connection.wait_closed()
