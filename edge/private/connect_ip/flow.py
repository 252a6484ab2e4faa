"""What TCP connections, UDP flows and pings of a client have in common: each is judged, recorded and revoked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.protocol.proxying.handshake import Verdict
from pyconnector.transport.ip.icmp import Error

if TYPE_CHECKING:
    from pyconnector.edge.private.connect_ip.tunnel import IpTunnel
    from pyconnector.edge.private.gateway.judge import Refused
    from pyconnector.protocol.proxying.handshake import Connect

#: Seconds for which a refused flow is answered without being judged, and recorded, again.
REFUSED_FOR: Final = 5.0
_ERRORS: Final = {Verdict.UNROUTABLE: Error.NO_ROUTE, Verdict.UNREACHABLE: Error.PORT}


class IpFlow:
    """A flow from its first packet to its record."""

    task: asyncio.Task[None]

    def __init__(self, tunnel: IpTunnel, protocol: str, request: Connect) -> None:
        self._tunnel = tunnel
        self._gateway = tunnel.gateway
        self._request = request
        self._cut: tuple[CloseReason, str] | None = None
        whose = tunnel.record
        record = self.record = self._gateway.new_record("connect-ip", whose.source, protocol=protocol)
        record.identified, record.device, record.claimed = whose.identified, whose.device, whose.claimed
        record.wanted, record.virtual_network = (request.host, request.port), request.virtual_network

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.record.wanted} sent={self.record.sent} received={self.record.received}>"

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        if self._cut is None:
            self._cut = (reason, detail)
        self.task.cancel()

    def _finish(self) -> None:
        """Write the record."""
        self._gateway.judge.ended(self)
        if self._cut is not None:
            self.record.reason, self.record.detail = self._cut
        elif self.record.reason is CloseReason.UNKNOWN:
            self.record.reason = CloseReason.CLIENT_CLOSED
        self._gateway.records.write(self.record)


def error_of(refused: Refused) -> Error:
    """Return what a client is told of a refusal. Who is not allowed learns no more than that."""
    return _ERRORS.get(refused.verdict, Error.PROHIBITED)
