"""Datagram protocol version 3: sessions are registered by datagrams, which may be lost (wire.md 12)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.datagrams.link import IDLE_SECONDS, DatagramLink, OpenFailed, SessionUser
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
    from ipaddress import IPv4Address, IPv6Address

    from pyconnector.transport.seam import Connection

#: Seconds that each attempt to register waits for its answer: the datagram, or the answer, may be lost.
ATTEMPTS: Final = (0.3, 0.7, 1.5, 2.5)
#: What the codes of a refusal mean.
_REFUSALS: Final = {
    ResponseCode.DESTINATION_UNREACHABLE: "the destination is unreachable",
    ResponseCode.UNABLE_TO_BIND: "no socket could be opened towards the destination",
    ResponseCode.TOO_MANY_FLOWS: "too many active flows",
}


class DatagramLinkV3(DatagramLink):
    """The link of a connection that speaks version 3."""

    def __init__(self, transport: Connection) -> None:
        super().__init__(transport)
        self._waiting: dict[bytes, asyncio.Future[SessionResponse]] = {}

    def receive(self, data: bytes) -> None:
        """See `DatagramLink.receive`."""
        found = split_payload_v3(data)
        if found is not None:
            user = self.sessions.get(found[0])
            if user is None:
                self.dropped["flow_unknown"] += 1
            else:
                user.arrived(found[1])
            return
        try:
            value = decode_v3(data)
        except ProtocolError:
            self.dropped["malformed"] += 1
            return
        if isinstance(value, SessionResponse):
            waiter = self._waiting.get(value.request_id)
            if waiter is not None and not waiter.done():
                waiter.set_result(value)
        elif isinstance(value, IcmpPacket) and self.on_packet is not None:
            self.on_packet(value.packet)
        else:
            self.dropped["unsupported"] += 1

    async def open(
        self, session_id: bytes, address: IPv4Address | IPv6Address, port: int, user: SessionUser, *, first: bytes = b""
    ) -> None:
        """See `DatagramLink.open`. The first packet travels with the registration. Cancel leaves it unknown whether it
        came to be."""
        self.take(session_id, user)
        registration = SessionRegistration(
            request_id=session_id, destination_ip=address, destination_port=port, idle_seconds=IDLE_SECONDS,
            payload=first,
        )  # fmt: skip
        waiter = self._waiting[session_id] = asyncio.get_running_loop().create_future()
        try:
            for patience in ATTEMPTS:
                if not self.transport.send_datagram(registration.encode()) and registration.payload:
                    # Together they are too large for the path; the packet follows once the session is there.
                    registration = replace(registration, payload=b"")
                    self.transport.send_datagram(registration.encode())
                try:
                    async with asyncio.timeout(patience):
                        answer = await asyncio.shield(waiter)
                except TimeoutError:
                    continue
                if answer.code is ResponseCode.OK:
                    if first and not registration.payload:
                        self.send(session_id, first)
                    return
                why = answer.error or _REFUSALS.get(answer.code, "it gave no reason")
                raise OpenFailed(f"The connector refused: {why}.")
            raise OpenFailed(f"The connector did not answer within {sum(ATTEMPTS):g} s.")
        except BaseException:
            self.sessions.pop(session_id, None)
            raise
        finally:
            self._waiting.pop(session_id, None)

    def send(self, session_id: bytes, payload: bytes) -> bool:
        """See `DatagramLink.send`."""
        return self._send(session_head_v3(session_id) + payload)

    def send_packet(self, packet: bytes) -> bool:
        """See `DatagramLink.send_packet`."""
        try:
            return self._send(IcmpPacket(packet=packet).encode())
        except ProtocolError:
            self.dropped["too_large"] += 1
            return False

    async def close_session(self, session_id: bytes) -> None:
        """See `DatagramLink.close_session`: the connector finds out when the session has been idle for long enough."""
        self.sessions.pop(session_id, None)

    async def give_up(self, session_id: bytes) -> None:
        """See `DatagramLink.give_up`: by idleness alone, as in `close_session`."""

    def _send(self, data: bytes) -> bool:
        sent = self.transport.send_datagram(data)
        if not sent:
            self.dropped["full"] += 1
        return sent
