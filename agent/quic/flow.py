"""UDP to private destinations in the datagrams of the HTTP/3 connection (RFC 9298, RFC 9297): a lost packet holds back
no other. What is too long for a datagram of this path travels as a capsule.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.agent.carry import PIECE
from pyconnector.agent.errors import MeshError
from pyconnector.protocol.capsules import CapsuleReader, encode_udp_capsule, udp_payload
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.agent.multiplexed import StreamEnd
    from pyconnector.transport.http3 import Http3Stream

#: Packets that wait to be received, and bytes of capsules that wait to be sent, before packets are dropped.
MAX_WAITING: Final = 256
MAX_UNSENT: Final = 256 * 1024
#: Longest payload: what fits into a datagram of the private network travels on, the rest is dropped there.
MAX_PAYLOAD: Final = 65_507
#: Context id 0, which stands before a UDP payload (RFC 9298 5).
_UDP_CONTEXT: Final = b"\0"


class DatagramFlow:
    """A `Flow` through the gateway. One task may receive."""

    def __init__(self, end: StreamEnd, stream: Http3Stream) -> None:
        self.dropped = 0
        self._end = end
        self._stream = stream
        self._packets: deque[bytes] = deque()
        self._failure: MeshError | None = None
        self._arrived = asyncio.Event()
        stream.set_datagram_handler(self._datagram)
        self._reading = asyncio.create_task(self._read(), name="mesh capsules of a udp flow")

    def __repr__(self) -> str:
        return f"<DatagramFlow waiting={len(self._packets)} dropped={self.dropped}>"

    def send(self, payload: bytes) -> None:
        """See `Flow.send`."""
        if len(payload) > MAX_PAYLOAD:
            self.dropped += 1
            return
        sent = self._stream.send_datagram(_UDP_CONTEXT + payload)
        if sent is None:
            sent = self._end.send_now(encode_udp_capsule(payload), MAX_UNSENT)
        self.dropped += not sent

    async def receive(self) -> bytes:
        """See `Flow.receive`.

        Raises:
            MeshError: the gateway ended it: it was idle for too long, or may not be any more.
        """
        while not self._packets:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    def close(self) -> None:
        """See `Flow.close`."""
        self._reading.cancel()
        self._stream.set_datagram_handler(None)
        self._end.close()
        self._ended("it was closed")

    def _datagram(self, datagram: bytes) -> None:
        try:
            payload = udp_payload(datagram)
        except ProtocolError as error:
            self._ended(f"the gateway does not speak CONNECT-UDP: {error}")
            self._end.abort()
            return
        if payload is None or len(self._packets) >= MAX_WAITING:
            self.dropped += 1
            return
        self._packets.append(payload)
        self._arrived.set()

    async def _read(self) -> None:
        """Take the capsules of the stream, until the gateway ends it."""
        capsules = CapsuleReader()
        try:
            while data := await self._stream.receive(PIECE):
                capsules.feed(data)
                while (datagram := capsules.next()) is not None:
                    if datagram:
                        self._datagram(datagram)
            self._ended("the gateway ended the flow")
        except ProtocolError as error:
            self._ended(f"the gateway does not speak CONNECT-UDP: {error}")
            self._end.abort()
        except TransportError as error:
            self._ended(f"the gateway broke the flow off: {error}")

    def _ended(self, reason: str) -> None:
        self._failure = self._failure or MeshError(reason)
        self._arrived.set()
