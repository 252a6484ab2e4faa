"""The UDP of one CONNECT-UDP request (RFC 9298): HTTP datagrams, in capsules of its stream or beside it, into a flow of
datagrams, and back.

What finds no room on its way is dropped and counted, as UDP is; what a client sends in one piece is taken apart in
slices, so that many small capsules hold up nobody else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.gateway.flows import CONNECT_TIMEOUT, admit
from pyconnector.edge.private.gateway.judge import Refused
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import Unreachable
from pyconnector.protocol.capsules import CapsuleReader, udp_payload
from pyconnector.protocol.proxying.handshake import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.private.gateway.judge import RunningFlow
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.udp import PrivateUdp
    from pyconnector.protocol.proxying.handshake import Connect

#: Capsules of one client that are taken in one turn of the loop.
CAPSULES_A_TURN: Final = 64


class UdpTunnel:
    """From `open` to `close`; `on_end` is told where the far end ends it first."""

    def __init__(
        self,
        gateway: Gateway,
        flow: RunningFlow,
        send: Callable[[bytes], bool],
        on_end: Callable[[CloseReason, str], None],
    ) -> None:
        """`send` takes a UDP payload for the client; False where it has no room."""
        self.dropped = 0
        "Packets that were dropped here: of no context of ours, or without room."
        self._gateway = gateway
        self._running = flow
        self._send = send
        self._on_end = on_end
        self._reader = CapsuleReader()
        self._flow: PrivateUdp | None = None

    def __repr__(self) -> str:
        return f"<UdpTunnel {self._flow!r} dropped={self.dropped}>"

    async def open(self, request: Connect) -> None:
        """Have the flow judged and registered. Cancel leaves nothing open but for `close`.

        Raises:
            Refused: it may not be, or no connector took it.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                destination = await admit(self._gateway, self._running, request)
                self._flow = await self._gateway.judge.network.open_udp(
                    destination, on_data=self._arrived, on_end=self._ended
                )
        except Unreachable as exc:
            raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, str(exc)) from exc
        except TimeoutError:
            raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, "It did not answer in time.") from None
        self._running.record.connector_id = str(self._flow.connector_id or "")

    async def feed(self, data: bytes) -> None:
        """Take what the client sent. Cancel leaves some of it unsent.

        Raises:
            ProtocolError: it is something else than capsules.
        """
        self._reader.feed(data)
        taken = 0
        while (datagram := self._reader.next()) is not None:
            payload = udp_payload(datagram) if datagram else None
            if payload is None:
                self.dropped += bool(datagram)
            elif self._flow is not None:
                self._flow.send(payload)
            taken += 1
            if not taken % CAPSULES_A_TURN:
                await self._gateway.turns.wait()

    def take(self, datagram: bytes) -> None:
        """Take an HTTP datagram that came outside of the stream.

        Raises:
            ProtocolError: it has no context id, or is too long.
        """
        payload = udp_payload(datagram)
        if payload is None or self._flow is None:
            self.dropped += 1
        else:
            self._flow.send(payload)

    def close(self) -> None:
        """End the flow. Idempotent."""
        flow, self._flow = self._flow, None
        if flow is not None:
            record = self._running.record
            record.sent, record.received = flow.sent, flow.received
            flow.close()

    def _arrived(self, data: bytes) -> None:
        if not self._send(data):
            self.dropped += 1

    def _ended(self, reason: str) -> None:
        self._on_end(CloseReason.IDLE if reason == "idle" else CloseReason.ORIGIN_ERROR, reason)
