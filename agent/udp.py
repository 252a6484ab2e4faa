"""UDP to private destinations: CONNECT-UDP at the gateway (RFC 9298), over QUIC in datagrams (`agent.quic.flow`), else
each payload in a capsule of one connection.

In capsules it travels in TLS over TCP, so it passes where UDP is blocked, in order, and a loss holds back what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from pyconnector.agent.errors import MeshError
from pyconnector.agent.multiplexed import StreamEnd
from pyconnector.agent.quic.flow import DatagramFlow
from pyconnector.protocol.capsules import CapsuleReader, encode_udp_capsule, udp_payload
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.http3 import Http3Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.agent.carry import Carrier

#: Bytes that wait to be sent before packets are dropped, and packets that wait to be received directly.
MAX_UNSENT: Final = 256 * 1024
MAX_WAITING: Final = 64
#: Longest payload: what fits into a datagram of the private network travels on, the rest is dropped there.
MAX_PAYLOAD: Final = 65_507


class Flow(Protocol):
    """UDP between this program and one destination."""

    dropped: int

    def send(self, payload: bytes) -> None:
        """Send a packet. Never waits and never raises: what cannot be sent now is dropped and counted."""

    async def receive(self) -> bytes:
        """Return the next packet, which may be empty. Cancel at any time: no packet is lost. Raises MeshError."""

    def close(self) -> None:
        """End it. Idempotent."""


class UdpFlow:
    """A `Flow` through the gateway, in capsules. One task may receive."""

    def __init__(self, carrier: Carrier) -> None:
        self.dropped = 0
        self._carrier = carrier
        self._capsules = CapsuleReader()

    def __repr__(self) -> str:
        return f"<UdpFlow dropped={self.dropped}>"

    def send(self, payload: bytes) -> None:
        """See `Flow.send`."""
        if len(payload) > MAX_PAYLOAD or not self._carrier.send_now(encode_udp_capsule(payload), MAX_UNSENT):
            self.dropped += 1

    async def receive(self) -> bytes:
        """See `Flow.receive`.

        Raises:
            MeshError: the gateway ended it: it was idle for too long, or may not be any more.
        """
        try:
            while True:
                while (datagram := self._capsules.next()) is not None:
                    payload = udp_payload(datagram) if datagram else None
                    if payload is not None:
                        return payload
                data = await self._carrier.receive()
                if not data:
                    raise MeshError("the gateway ended the flow")
                self._capsules.feed(data)
        except ProtocolError as error:
            self.close()
            raise MeshError(f"the gateway does not speak CONNECT-UDP: {error}") from error
        except MeshError:
            raise
        except OSError as error:
            raise MeshError(f"the gateway broke the flow off: {error.strerror or error}") from error

    def close(self) -> None:
        """See `Flow.close`."""
        self._carrier.close()


def flow_over(carrier: Carrier) -> Flow:
    """Return UDP over what was opened for it: in datagrams where that has some."""
    if isinstance(carrier, StreamEnd) and isinstance(carrier.stream, Http3Stream):
        return DatagramFlow(carrier, carrier.stream)
    return UdpFlow(carrier)


class DirectFlow(asyncio.DatagramProtocol):
    """A `Flow` that goes through no gateway."""

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A packet came."""
        try:
            self._packets.put_nowait(data)
        except asyncio.QueueFull:
            self.dropped += 1

    def send(self, payload: bytes) -> None:
        """See `Flow.send`."""
        if self._transport.is_closing() or len(payload) > MAX_PAYLOAD:
            self.dropped += 1
        else:
            with contextlib.suppress(OSError):
                self._transport.sendto(payload)

    async def receive(self) -> bytes:
        """See `Flow.receive`."""
        return await self._packets.get()

    def close(self) -> None:
        """See `Flow.close`."""
        self._transport.close()


async def open_direct(host: str, port: int) -> DirectFlow:
    """Return UDP to a destination without a gateway. Cancel leaves nothing open.

    Raises:
        OSError: there is no such name, or no way there.
    """
    make: Callable[[], DirectFlow] = DirectFlow
    return (await asyncio.get_running_loop().create_datagram_endpoint(make, remote_addr=(host, port)))[1]
