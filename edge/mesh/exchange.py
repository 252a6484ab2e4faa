"""A visitor's request as an HTTP/2 request to another edge: the form of a connector (wire.md 14), and three fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote

from pyconnector.edge.connectors.exchange import Broken, NoTunnel, Refused, TunnelResponse
from pyconnector.edge.connectors.http2.exchange import Http2Exchange
from pyconnector.protocol.http import http2_form as form
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from uuid import UUID

    from pyconnector.transport.http2 import Http2Stream

#: Names the tunnel in a request.
TUNNEL = b"pyconnector-tunnel"
#: In an answer that is none: what failed there, and why.
FAILED, REASON = b"pyconnector-failed", b"pyconnector-reason"
NO_TUNNEL, BROKEN, REFUSED = b"no-tunnel", b"broken", b"refused"
#: Characters of a reason.
MAX_REASON = 1000


def failure(error: NoTunnel | Broken | Refused) -> form.Fields:
    """Return the head that says of a request that it could not be served."""
    if isinstance(error, NoTunnel):
        return [*form.failure_fields(530), (FAILED, NO_TUNNEL)]
    what = BROKEN if isinstance(error, Broken) else REFUSED
    reason = quote(str(error)[:MAX_REASON], safe=" ").encode("ascii")
    return [*form.failure_fields(error.status), (FAILED, what), (REASON, reason)]


class PeerExchange(Http2Exchange):
    """A stream to another edge that carries one request."""

    __slots__ = ()

    async def is_taken(self) -> bool:
        """Wait for the answer, and return whether the other edge had a connection. What broke off `response` tells.

        Cancel leaves the exchange as it is: abort it.
        """
        try:
            fields = await cast("Http2Stream", self.stream).response()
        except TransportError:
            return True
        return form.first(fields, FAILED) != NO_TUNNEL

    async def response(self) -> TunnelResponse:
        """See `Exchange.response`. Cancel leaves the exchange as it is: abort it.

        Raises:
            NoTunnel: the other edge lost its connections of the tunnel in this moment.
        """
        try:
            fields = await cast("Http2Stream", self.stream).response()
        except TransportError as exc:
            raise Broken(f"The edge that holds the tunnel broke off before it answered: {exc}.") from exc
        what = form.first(fields, FAILED)
        if not what:
            return await super().response()
        if what == NO_TUNNEL:
            raise NoTunnel
        status = form.first(fields, b":status")
        reason = unquote(form.first(fields, REASON).decode("latin-1"))
        kind = Refused if what == REFUSED else Broken
        raise kind(reason, int(status) if status.isdigit() and 400 <= int(status) < 600 else 502)

    @property
    def connector_id(self) -> UUID | None:
        """Not known here: the other edge chose it."""
        return None
