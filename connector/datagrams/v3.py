"""Datagram protocol version 3: the edge registers sessions by datagrams, and may move them between connections
(wire.md 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyconnector.connector.datagrams.session import SessionRefused, UdpSession
from pyconnector.connector.observe.datagram_counters import FLOW_UNKNOWN, MALFORMED, UNSUPPORTED
from pyconnector.protocol.datagrams import (
    IcmpPacket,
    ResponseCode,
    SessionRegistration,
    SessionResponse,
    decode_v3,
    session_head_v3,
    split_payload_v3,
)
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.datagrams.icmp import IcmpRouter
    from pyconnector.connector.datagrams.shared import SharedFlows
    from pyconnector.connector.observe.log import Log
    from pyconnector.protocol.rpc.edge_rpc import UdpSessionEnded, UdpSessionRequested
    from pyconnector.transport.seam import Connection

#: What a session asked for over RPC is answered with, in the reference's words (wire.md 10).
NO_REGISTER: Final = "datagram v3 does not support RegisterUdpSession RPC"
NO_UNREGISTER: Final = "datagram v3 does not support UnregisterUdpSession RPC"


class SessionsV3:
    """The sessions of one connector, whichever connection they are on."""

    writes_are_fatal = True

    def __init__(self, shared: SharedFlows) -> None:
        self.shared = shared
        self.by_id: dict[bytes, UdpSession] = {}
        self._registered_on: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<SessionsV3 {len(self.by_id)}>"

    def add(self, session: UdpSession) -> None:
        """Keep a new session."""
        self.by_id[session.session_id] = session
        self._registered_on[session.session_id] = session.link.index
        self.shared.counters.active[session.link.index] += 1
        self.shared.counters.total[session.link.index] += 1

    def session_ended(self, session: UdpSession, reason: str, *, failed: bool) -> None:
        """See `SessionOwner.session_ended`. The protocol has no word for it: the edge finds out."""
        if failed:
            self.shared.counters.failed[session.link.index] += 1
        self.drop(session)

    def drop(self, session: UdpSession) -> None:
        """Forget a session and give back what it holds. Idempotent."""
        session.close()
        if self.by_id.get(session.session_id) is session:
            del self.by_id[session.session_id]
            # As in the reference: by the connection that registered it, wherever it went since.
            self.shared.counters.active[self._registered_on.pop(session.session_id)] -= 1


class DatagramsV3:
    """Serves the datagrams of one connection."""

    def __init__(
        self,
        index: int,
        connection: Connection,
        sessions: SessionsV3,
        *,
        icmp: Callable[[], IcmpRouter],
        log: Log,
    ) -> None:
        self.index = index
        self.send = connection.send_datagram
        self._icmp = icmp
        self._uses_icmp = False
        self._sessions = sessions
        self._counters = sessions.shared.counters
        self._log = log

    def __repr__(self) -> str:
        return f"<DatagramsV3 index={self.index}>"

    def receive(self, data: bytes) -> None:
        """Take one datagram of the edge. Never raises."""
        found = split_payload_v3(data)
        if found is not None:
            session = self._sessions.by_id.get(found[0])
            if session is None:
                self._counters.dropped[self.index, FLOW_UNKNOWN] += 1
            else:
                session.write(found[1])
            return
        try:
            value = decode_v3(data)
        except ProtocolError as error:
            self._log.debug("Dropped a datagram: %s", error)
            self._counters.dropped[self.index, MALFORMED] += 1
            return
        if isinstance(value, SessionRegistration):
            self._register(value)
        elif isinstance(value, IcmpPacket):
            self._icmp().receive(self, value.packet)
            self._uses_icmp = True
        else:
            self._counters.dropped[self.index, UNSUPPORTED] += 1

    def send_packet(self, packet: bytes) -> bool:
        """See `PacketLink.send_packet`."""
        try:
            return self.send(IcmpPacket(packet=packet).encode())
        except ProtocolError:
            return False  # it is too large

    def register(self, request: UdpSessionRequested) -> str:
        """Refuse a session of version 2."""
        self._counters.unsupported_commands[self.index, "register_udp_session"] += 1
        return NO_REGISTER

    def unregister(self, request: UdpSessionEnded) -> str:
        """Refuse to end a session of version 2."""
        self._counters.unsupported_commands[self.index, "unregister_udp_session"] += 1
        return NO_UNREGISTER

    def close(self) -> None:
        """End the sessions that are on this connection now. Idempotent."""
        for session in [each for each in self._sessions.by_id.values() if each.link is self]:
            self._sessions.drop(session)
        if self._uses_icmp:
            self._icmp().forget(self)

    def _register(self, wanted: SessionRegistration) -> None:
        session = self._sessions.by_id.get(wanted.request_id)
        if session is not None:
            session.touch()
            if session.link is self:
                # The answer was lost, or is late. What came with the registration was delivered the first time.
                self._counters.retries[self.index] += 1
                self._answer(wanted, ResponseCode.OK)
                return
            session.link = self
            self._counters.migrated[self.index] += 1
        else:
            session = UdpSession(
                wanted.request_id, idle=float(wanted.idle_seconds),
                framing=(session_head_v3(wanted.request_id), b""), link=self, owner=self._sessions,
            )  # fmt: skip
            try:
                session.open(str(wanted.destination_ip), wanted.destination_port)
            except SessionRefused as error:
                self._log.warning("Refused a UDP session: %s", error)
                self._answer(wanted, ResponseCode.TOO_MANY_FLOWS if error.limited else ResponseCode.UNABLE_TO_BIND)
                return
            self._sessions.add(session)
        self._answer(wanted, ResponseCode.OK)
        if wanted.payload:
            session.write(wanted.payload)

    def _answer(self, wanted: SessionRegistration, code: ResponseCode) -> None:
        self.send(SessionResponse(request_id=wanted.request_id, code=code).encode())
