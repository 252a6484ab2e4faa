"""The UDP of a client from one port to one destination."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.connect_ip.flow import REFUSED_FOR, IpFlow, error_of
from pyconnector.edge.private.gateway.flows import CONNECT_TIMEOUT, admit
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import Unreachable
from pyconnector.protocol.datagrams import MAX_PAYLOAD_BYTES
from pyconnector.protocol.proxying.handshake import Verdict
from pyconnector.transport.ip.icmp import Error

if TYPE_CHECKING:
    from pyconnector.edge.private.connect_ip.tunnel import IpTunnel
    from pyconnector.edge.private.udp import PrivateUdp
    from pyconnector.protocol.proxying.handshake import Connect
    from pyconnector.transport.ip.udp import UdpDatagram

#: Packets that wait while a flow is judged and registered; older ones are dropped for newer ones.
MAX_WAITING: Final = 16


class UdpFlow(IpFlow):
    """See the module. Run it in `task`."""

    def __init__(self, tunnel: IpTunnel, first: UdpDatagram, request: Connect) -> None:
        super().__init__(tunnel, "udp", request)
        self._first = first
        self._flow: PrivateUdp | None = None
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._refusal: Error | None = None
        self._over = asyncio.Event()
        self.take(first)

    def take(self, datagram: UdpDatagram) -> None:
        """Carry a packet, or tell why not."""
        packet, tunnel = datagram.packet, self._tunnel
        if self._refusal is not None:
            tunnel.stack.tell(self._refusal, packet, tunnel.now)
        elif len(datagram.payload) > MAX_PAYLOAD_BYTES:
            header = 28 if packet.version == 4 else 48
            tunnel.stack.tell(Error.TOO_BIG, packet, tunnel.now, mtu=MAX_PAYLOAD_BYTES + header)
        elif self._flow is None:
            self._waiting.append(datagram.payload)
        else:
            self._flow.send(datagram.payload)

    async def run(self) -> None:
        """Carry packets until the flow ends. Cancel closes it."""
        try:
            await self._open()
            await self._over.wait()
        except Refused as refused:
            note_refusal(self.record, refused)
            self._refusal = error_of(refused)
        finally:
            if self._flow is not None:
                self.record.sent, self.record.received = self._flow.sent, self._flow.received
                self._flow.close()
            self._finish()
        if self._refusal is not None:
            self._tunnel.stack.tell(self._refusal, self._first.packet, self._tunnel.now)
            self._tunnel.wake()
            await asyncio.sleep(REFUSED_FOR)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                destination = await admit(self._gateway, self, self._request)
                self._flow = await self._gateway.judge.network.open_udp(
                    destination, on_data=self._arrived, on_end=self._ended
                )
        except Unreachable as exc:
            raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, str(exc)) from exc
        except TimeoutError:
            raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, "It did not answer in time.") from None
        self.record.connector_id = str(self._flow.connector_id or "")
        while self._waiting:
            self._flow.send(self._waiting.popleft())

    def _arrived(self, data: bytes) -> None:
        first, packet = self._first, self._first.packet
        self._tunnel.stack.send_udp(
            (packet.destination, first.destination_port), (packet.source, first.source_port), data
        )
        self._tunnel.wake()

    def _ended(self, reason: str) -> None:
        self.record.reason = CloseReason.IDLE if reason == "idle" else CloseReason.ORIGIN_ERROR
        self.record.detail = reason
        self._over.set()
