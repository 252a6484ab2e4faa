"""Datagram protocol version 2: sessions are registered and ended by RPC (wire.md 10, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from pyconnector.edge.connectors.calls import RpcFailed, call
from pyconnector.edge.private.datagrams.link import IDLE_SECONDS, DatagramLink, OpenFailed, SessionUser
from pyconnector.protocol.datagrams import IpPacket, decode_v2, session_tail_v2, split_payload_v2
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.edge_rpc import EdgeRpcClient, UdpSessionAnswered

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


class DatagramLinkV2(DatagramLink):
    """The link of a connection that speaks version 2."""

    def receive(self, data: bytes) -> None:
        """See `DatagramLink.receive`."""
        found = split_payload_v2(data)
        if found is not None:
            user = self.sessions.get(found[0])
            if user is None:
                self.dropped["flow_unknown"] += 1
            else:
                user.arrived(found[1])
            return
        try:
            value = decode_v2(data)
        except ProtocolError:
            self.dropped["malformed"] += 1
            return
        if isinstance(value, IpPacket) and self.on_packet is not None:
            self.on_packet(value.packet)
        else:
            self.dropped["unsupported"] += 1

    async def open(
        self, session_id: bytes, address: IPv4Address | IPv6Address, port: int, user: SessionUser, *, first: bytes = b""
    ) -> None:
        """See `DatagramLink.open`. Cancel leaves it unknown whether it came to be."""
        self.take(session_id, user)
        client = EdgeRpcClient()
        client.register_udp_session(UUID(bytes=session_id), address, port, float(IDLE_SECONDS))
        try:
            answer = await call(self.transport, client)
            if isinstance(answer, UdpSessionAnswered) and answer.error:
                raise OpenFailed(f"The connector refused: {answer.error}")
        except RpcFailed as exc:
            raise OpenFailed(str(exc)) from exc
        except BaseException:
            self.sessions.pop(session_id, None)
            raise
        if first:
            self.send(session_id, first)

    def send(self, session_id: bytes, payload: bytes) -> bool:
        """See `DatagramLink.send`."""
        return self._send(payload + session_tail_v2(session_id))

    def send_packet(self, packet: bytes) -> bool:
        """See `DatagramLink.send_packet`."""
        try:
            return self._send(IpPacket(packet=packet).encode())
        except ProtocolError:
            self.dropped["too_large"] += 1
            return False

    async def close_session(self, session_id: bytes) -> None:
        """See `DatagramLink.close_session`. Cancel abandons the call."""
        if self.sessions.pop(session_id, None) is not None:
            await self.give_up(session_id)

    async def give_up(self, session_id: bytes) -> None:
        """See `DatagramLink.give_up`. Cancel abandons the call."""
        client = EdgeRpcClient()
        client.unregister_udp_session(UUID(bytes=session_id), "the client ended it")
        try:
            await call(self.transport, client)
        except RpcFailed:
            pass  # the connection is gone or in trouble, and its sessions with it

    def _send(self, data: bytes) -> bool:
        sent = self.transport.send_datagram(data)
        if not sent:
            self.dropped["full"] += 1
        return sent
