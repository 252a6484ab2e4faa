"""UDP flows to services whose connector is at another edge: a stream to it for each, its packets with their length.

The edge that the client came to decides who may reach what, and records it; the other one only passes packets on, and
never to a third.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from pyconnector.edge.mesh.exchange import FAILED, REASON, TUNNEL
from pyconnector.edge.private.datagrams.link import OpenFailed
from pyconnector.protocol.datagrams import MAX_PAYLOAD_BYTES
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from pyconnector.transport.errors import TransportError
from pyconnector.web.host_port import join_host_port, split_ip_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address
    from uuid import UUID

    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.edge.mesh.peers import Peer
    from pyconnector.edge.private.datagrams.link import SessionUser
    from pyconnector.edge.tasks import TaskSet
    from pyconnector.transport.http2 import Http2Stream

#: In a request of one edge to another: that its stream carries UDP.
UDP = b"pyconnector-udp"
#: Unsent bytes of a flow above which its packets are dropped, as UDP drops them.
MAX_UNSENT: Final = 64 * 1024
#: Bytes that are read of a flow at once.
PIECE: Final = 64 * 1024
#: Packets of a flow that are passed on in one turn of the loop: an empty one costs its sender two bytes.
PACKETS_A_TURN: Final = 256
#: Seconds for the other edge to open a flow.
OPEN_TIMEOUT: Final = 10.0


class Packets:
    """Takes packets out of a stream, each behind its length in two bytes."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the packets that are whole.

        Raises:
            ProtocolError: one is larger than any may be.
        """
        self._waiting += data
        begin = 0
        while len(self._waiting) - begin >= 2:
            length = int.from_bytes(self._waiting[begin : begin + 2], "big")
            if length > MAX_PAYLOAD_BYTES:
                raise ProtocolError("another edge sent a packet that is too large")
            if len(self._waiting) - begin - 2 < length:
                break
            yield bytes(self._waiting[begin + 2 : begin + 2 + length])
            begin += 2 + length
        del self._waiting[:begin]


def send_packet(stream: Http2Stream, data: bytes) -> bool:
    """Send a packet; False where it was dropped."""
    if len(data) > MAX_PAYLOAD_BYTES or stream.engine_unsent_backlog() > MAX_UNSENT:
        return False
    try:
        stream.send_nowait(len(data).to_bytes(2, "big") + data)
    except TransportError:
        return False
    return True


async def pass_on(stream: Http2Stream, take: Callable[[bytes], None]) -> None:
    """Hand the packets of a stream to `take` until it ends, a few in each turn of the loop. Cancel at any time.

    Raises:
        ProtocolError: what comes is no packet.
        TransportError: the other edge is gone.
    """
    packets, taken = Packets(), 0
    while data := await stream.receive(PIECE):
        for packet in packets.feed(data):
            take(packet)
            taken += 1
            if not taken % PACKETS_A_TURN:
                await asyncio.sleep(0)


class PeerLink:
    """What carries the UDP of one flow by way of another edge: as a connection of a connector does here."""

    def __init__(self, peer: Peer, tunnel_id: UUID) -> None:
        self.sessions: dict[bytes, SessionUser] = {}
        self._peer = peer
        self._tunnel_id = tunnel_id
        self._stream: Http2Stream | None = None
        self._reading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<PeerLink {self._peer!r} sessions={len(self.sessions)}>"

    async def open(
        self, session_id: bytes, address: IPv4Address | IPv6Address, port: int, user: SessionUser, *, first: bytes = b""
    ) -> None:
        """See `DatagramLink.open`. Cancel, or a failure, leaves nothing behind."""
        head = [
            *form.tcp_request_fields(join_host_port(str(address), port), "pyconnector-edge"),
            (UDP, b"1"), (TUNNEL, str(self._tunnel_id).encode("ascii")),
        ]  # fmt: skip
        stream: Http2Stream | None = None
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                connection = await self._peer.connection()
                stream = await connection.open_request(head)
                fields = await stream.response()
            if form.first(fields, FAILED) or form.first(fields, b":status") != b"200":
                reason = unquote(form.first(fields, REASON).decode("latin-1")) or "no connector took it"
                raise OpenFailed(f"The edge that holds the tunnel did not open the flow: {reason}.")
        except (TransportError, TimeoutError) as error:
            _give_up(stream)
            raise OpenFailed("The edge that holds the tunnel cannot be reached.") from error
        except BaseException:
            _give_up(stream)
            raise
        self.sessions[session_id], self._stream = user, stream
        self._peer.in_flight += 1
        self._reading = asyncio.get_running_loop().create_task(self._read(stream, session_id), name="edge peer flow")
        if first:
            self.send(session_id, first)

    def send(self, session_id: bytes, payload: bytes) -> bool:
        """See `DatagramLink.send`."""
        return self._stream is not None and send_packet(self._stream, payload)

    async def close_session(self, session_id: bytes) -> None:
        """End the flow. Idempotent."""
        if self.sessions.pop(session_id, None) is None:
            return
        self._peer.in_flight -= 1
        _give_up(self._stream)
        self._stream = None
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def give_up(self, session_id: bytes) -> None:
        """See `DatagramLink.give_up`: what did not come to be left nothing."""

    async def _read(self, stream: Http2Stream, session_id: bytes) -> None:
        def arrived(packet: bytes) -> None:
            if (user := self.sessions.get(session_id)) is not None:
                user.arrived(packet)

        try:
            await pass_on(stream, arrived)
        except (TransportError, ProtocolError):
            # The other edge is gone, or does not know what it says: the flow goes elsewhere.
            if (user := self.sessions.get(session_id)) is not None:
                user.moved()
            return
        if (user := self.sessions.get(session_id)) is not None:
            await self.close_session(session_id)
            user.ended("the connector ended it")


async def serve_flow(tunnel: Tunnel, stream: Http2Stream, fields: form.Fields, tasks: TaskSet) -> None:
    """Carry a flow of another edge, by connectors that are connected here and no others. Cancel ends it.

    Raises:
        OpenFailed: no connector took it.
        ProtocolError: the other edge named no destination, or sent what is no packet.
        TransportError: it is gone.
    """
    from pyconnector.edge.private.udp import PrivateUdp  # only edges with private networks need it

    try:
        host, port = split_ip_port(form.tcp_destination(fields))
    except ValueError as error:
        raise ProtocolError("another edge named no destination of a flow") from error
    flow = PrivateUdp(
        tunnel, ipaddress.ip_address(host), port, tasks=tasks, on_data=lambda data: _answered(stream, data),
        on_end=lambda reason: _finish(stream),
    )  # fmt: skip
    flow.here_alone = True
    await flow.open()
    try:
        stream.send_head(form.acknowledgement_fields(fields))
        await pass_on(stream, flow.send)
        _finish(stream)
    finally:
        flow.close()


def _finish(stream: Http2Stream) -> None:
    with contextlib.suppress(TransportError):
        stream.finish()


def _answered(stream: Http2Stream, data: bytes) -> None:
    send_packet(stream, data)


def _give_up(stream: Http2Stream | None) -> None:
    if stream is not None:
        with contextlib.suppress(TransportError):
            stream.reset()
            stream.stop()
