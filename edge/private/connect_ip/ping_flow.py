"""The pings of a client with one identifier to one destination: judged once, as a flow, and recorded at its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.connect_ip.flow import REFUSED_FOR, IpFlow, error_of
from pyconnector.edge.private.gateway.flows import CONNECT_TIMEOUT, admit
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.network import Unreachable
from pyconnector.transport.ip.icmp import Error

if TYPE_CHECKING:
    from pyconnector.edge.private.connect_ip.tunnel import IpTunnel
    from pyconnector.edge.private.network import Destination
    from pyconnector.protocol.proxying.handshake import Connect
    from pyconnector.transport.ip.icmp import EchoRequest

#: Echo requests of one flow that wait to be sent; and seconds after which one without any is over.
MAX_WAITING: Final = 16
IDLE_SECONDS: Final = 30.0


class PingFlow(IpFlow):
    """See the module. Run it in `task`. One request is on its way at a time."""

    def __init__(self, tunnel: IpTunnel, first: EchoRequest, request: Connect) -> None:
        super().__init__(tunnel, "icmp", request)
        self._waiting: asyncio.Queue[EchoRequest] = asyncio.Queue(MAX_WAITING)
        self._refusal: Error | None = None
        self._first = first
        self.take(first)

    def take(self, request: EchoRequest) -> None:
        """Carry a request, or tell why not; what finds no room is dropped."""
        if self._refusal is not None:
            self._tunnel.stack.tell(self._refusal, request.packet, self._tunnel.now)
        elif not self._waiting.full():
            self._waiting.put_nowait(request)

    async def run(self) -> None:
        """Carry requests until none comes. Cancel at any time."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                destination = await admit(self._gateway, self, self._request)
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    request = await self._waiting.get()
                await self._ping(destination, request)
        except TimeoutError:
            pass
        except Refused as refused:
            note_refusal(self.record, refused)
            self._refusal = error_of(refused)
        finally:
            self._finish()
        if self._refusal is not None:
            self._tunnel.stack.tell(self._refusal, self._first.packet, self._tunnel.now)
            self._tunnel.wake()
            await asyncio.sleep(REFUSED_FOR)

    async def _ping(self, destination: Destination, request: EchoRequest) -> None:
        tunnel = self._tunnel
        self.record.sent += len(request.data)
        try:
            pong = await self._gateway.judge.network.ping(
                destination, data=request.data, ttl=request.packet.hop_limit - 1
            )
        except Unreachable:
            return  # as a packet that is lost: whoever pings knows what that means
        if pong.expired:
            source = pong.source.packed if pong.source.version == request.packet.version else None
            tunnel.stack.tell(Error.TIME_EXCEEDED, request.packet, tunnel.now, source=source)
        else:
            self.record.received += len(pong.data)
            tunnel.stack.send_reply(request, pong.data)
        tunnel.wake()
