"""The UDP packets of a device from one port to one destination."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.gateway.flows import CONNECT_TIMEOUT, admit
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import Unreachable
from pyconnector.edge.private.wireguard.flow import PIECE, DeviceFlow

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.records import FlowRecord
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.udp import PrivateUdp
    from pyconnector.edge.private.wireguard.library import DeviceStream
    from pyconnector.protocol.proxying.handshake import Connect

#: Packets that wait while a flow is judged and registered; older ones are dropped for newer ones.
MAX_WAITING: Final = 16
#: Packets without a byte in a row that are taken for the end: the library tells one by nothing else.
MAX_EMPTY: Final = 3


class UdpFlow(DeviceFlow):
    """See the module."""

    def __init__(self, gateway: Gateway, stream: DeviceStream, record: FlowRecord) -> None:
        super().__init__(gateway, stream, record)
        self._flow: PrivateUdp | None = None
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)

    async def run(self, request: Connect) -> None:
        """Carry packets until the flow ends. Cancel closes it."""
        # Packets are read meanwhile: the library keeps what nobody reads, without a bound.
        opening = self._gateway.tasks.start(self._open(request), "edge wireguard udp opens")
        empty = 0
        try:
            while empty < MAX_EMPTY:
                data = await self._stream.read(PIECE)
                empty = 0 if data else empty + 1
                if self._flow is None:
                    self._waiting.append(data)
                elif data:
                    self._flow.send(data)
            self.record.reason = CloseReason.CLIENT_CLOSED
        finally:
            opening.cancel()
            if self._flow is not None:
                self.record.sent, self.record.received = self._flow.sent, self._flow.received
                self._flow.close()
            self._finish()

    async def _open(self, request: Connect) -> None:
        judge = self._gateway.judge
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                destination = await admit(self._gateway, self, request)
                self._flow = await judge.network.open_udp(destination, on_data=self._arrived, on_end=self._ended)
        except Refused as refused:
            note_refusal(self.record, refused)
            self.cut_off(refused.reason, str(refused))
        except Unreachable as exc:
            self.cut_off(CloseReason.UNREACHABLE, str(exc))
        except TimeoutError:
            self.cut_off(CloseReason.UNREACHABLE, "It did not answer in time.")
        else:
            self.record.connector_id = str(self._flow.connector_id or "")
            while self._waiting:
                self._flow.send(self._waiting.popleft())

    def _arrived(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError:
            self.cut_off(CloseReason.CLIENT_CLOSED, "")

    def _ended(self, reason: str) -> None:
        self.cut_off(CloseReason.IDLE if reason == "idle" else CloseReason.ORIGIN_ERROR, reason)
