"""A response of an HTTP/1.1 origin, from the arrival of its head to the end of its body."""

from __future__ import annotations

from typing import Protocol

from pyconnector.origins.base import Headers, OriginResponse
from pyconnector.origins.net.inbox import Inbox, Source


class Carrier(Protocol):
    """What still brings the response, or still takes the request's body: a turn of a connection, or the connection."""

    def abort(self) -> None:
        """Close at once. Idempotent."""


class HttpResponse(Inbox, OriginResponse):
    """Its body waits in the inbox. `carrier` is None as soon as the exchange needs the connection no more."""

    def __init__(self, status: int, headers: Headers, carrier: Carrier | None, source: Source | None) -> None:
        super().__init__(source)
        self.status = status
        self.headers = headers
        self.trailers: Headers = []
        self.carrier = carrier

    def __repr__(self) -> str:
        state = "open" if self.carrier else "complete"
        return f"<HttpResponse {self.status} {state}, {self.size} bytes wait for the visitor>"

    async def finish(self) -> None:
        """Give up what is unfinished of the exchange; most often nothing is. Never waits."""
        if self.carrier is not None or self._pieces:
            self.abort()

    def abort(self) -> None:
        """Close the connection if the exchange still has one; otherwise only forget what was not read. Idempotent."""
        self.drop()
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            carrier.abort()
