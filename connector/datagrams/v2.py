"""Datagram protocol version 2 on one connection: the edge registers sessions by RPC (wire.md 10, 11)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pyconnector.connector.datagrams.session import SessionRefused, UdpSession, refusal_sentence
from pyconnector.connector.observe.datagram_counters import FLOW_UNKNOWN, MALFORMED, UNSUPPORTED
from pyconnector.connector.tasks import TaskOwner
from pyconnector.protocol.datagrams import IpPacket, decode_v2, session_tail_v2, split_payload_v2
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.edge_rpc import EdgeRpcClient
from pyconnector.protocol.streams.openings import encode_rpc_opening
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.datagrams.icmp import IcmpRouter
    from pyconnector.connector.datagrams.shared import SharedFlows
    from pyconnector.connector.observe.log import Log
    from pyconnector.protocol.rpc.edge_rpc import UdpSessionEnded, UdpSessionRequested
    from pyconnector.transport.seam import Connection

#: Calls that tell the edge of ended sessions, at a time; others wait.
TELLERS: Final = 4


class DatagramsV2:
    """Serves the datagrams of one connection, and owns its sessions."""

    writes_are_fatal = False

    def __init__(
        self,
        index: int,
        connection: Connection,
        shared: SharedFlows,
        *,
        icmp: Callable[[], IcmpRouter],
        rpc_timeout: float,
        log: Log,
    ) -> None:
        self.index = index
        self.send = connection.send_datagram
        self._icmp = icmp
        self._uses_icmp = False
        self._connection = connection
        self.shared = shared
        self._counters = shared.counters
        self._rpc_timeout = rpc_timeout
        self._sessions: dict[bytes, UdpSession] = {}
        self._to_tell: deque[tuple[bytes, str]] = deque()
        self._tellers = TaskOwner(self._failed)
        self._closed = False
        self._log = log

    def __repr__(self) -> str:
        return f"<DatagramsV2 index={self.index} sessions={len(self._sessions)}>"

    def receive(self, data: bytes) -> None:
        """Take one datagram of the edge. Never raises."""
        found = split_payload_v2(data)
        if found is not None:
            session = self._sessions.get(found[0])
            if session is None:
                self._counters.dropped[self.index, FLOW_UNKNOWN] += 1
            else:
                session.write(found[1])
            return
        try:
            value = decode_v2(data)
        except ProtocolError as error:
            self._log.debug("Dropped a datagram: %s", error)
            self._counters.dropped[self.index, MALFORMED] += 1
            return
        if isinstance(value, IpPacket):
            self._icmp().receive(self, value.packet)
            self._uses_icmp = True
        else:
            self._counters.dropped[self.index, UNSUPPORTED] += 1

    def send_packet(self, packet: bytes) -> bool:
        """See `PacketLink.send_packet`."""
        try:
            return self.send(IpPacket(packet=packet).encode())
        except ProtocolError:
            return False  # it is too large

    def register(self, request: UdpSessionRequested) -> str:
        """Make a session and return "", or say why not."""
        if self._closed:
            return "the connection is being closed"
        key = request.session_id.bytes
        if (old := self._sessions.pop(key, None)) is not None:
            self._forget(old)  # the reference leaves its socket open
        session = UdpSession(key, idle=request.idle_seconds, framing=(b"", session_tail_v2(key)), link=self, owner=self)
        try:
            session.open(str(request.destination_ip), request.destination_port)
        except SessionRefused as error:
            return refusal_sentence(self._log, error)
        self._sessions[key] = session
        self._counters.v2_active += 1
        self._counters.v2_total += 1
        return ""

    def unregister(self, request: UdpSessionEnded) -> str:
        """End a session; one that is not there has ended already. Returns "" always: no error is possible."""
        if (session := self._sessions.pop(request.session_id.bytes, None)) is not None:
            self._forget(session)
        return ""

    def close(self) -> None:
        """End every session: the connection is gone. Calls to the edge are broken off. Idempotent."""
        self._closed = True
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            self._forget(session)
        if self._uses_icmp:
            self._icmp().forget(self)
        self._to_tell.clear()
        self._tellers.cancel()

    def _forget(self, session: UdpSession) -> None:
        session.close()
        self._counters.v2_active -= 1

    def session_ended(self, session: UdpSession, reason: str, *, failed: bool) -> None:
        """See `SessionOwner.session_ended`: the edge is told."""
        self._counters.v2_active -= 1
        self._sessions.pop(session.session_id, None)
        self._log.debug("A UDP session ended: %s", reason)
        if self._closed:
            return
        self._to_tell.append((session.session_id, reason))
        if len(self._tellers) < TELLERS:
            self._tellers.spawn(self._tell(), name="end of UDP sessions")

    async def _tell(self) -> None:
        while self._to_tell:
            session_id, reason = self._to_tell.popleft()
            try:
                async with asyncio.timeout(self._rpc_timeout):
                    await self._call(session_id, reason)
            except (TransportError, ProtocolError, TimeoutError) as error:
                self._log.debug("The edge was not told that a UDP session ended: %s", error)

    async def _call(self, session_id: bytes, reason: str) -> None:
        client = EdgeRpcClient()
        client.unregister_udp_session(UUID(bytes=session_id), reason)
        stream = await self._connection.open_stream()
        try:
            await stream.send(encode_rpc_opening() + client.bytes_to_send())
            while data := await stream.receive(READ_BYTES):
                if client.receive_data(data):
                    stream.finish()
                    return
                if more := client.bytes_to_send():
                    await stream.send(more)
                await asyncio.sleep(0)  # an edge that floods holds nobody else up
        finally:
            stream.stop()
            stream.reset()

    def _failed(self, task: asyncio.Task[object], error: BaseException) -> None:
        self._log.error("%s failed: %s", task.get_name(), error, exc_info=error)
