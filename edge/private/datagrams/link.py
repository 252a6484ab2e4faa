"""What carries datagrams over one connection of a connector, whichever version it speaks (wire.md 5.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from pyconnector.transport.seam import Connection

#: Features of a registration that say which version its connector speaks.
FEATURE_V3: Final = "support_datagram_v3_2"
FEATURE_V2: Final = "support_datagram_v2"
#: UDP sessions of one connection; more are refused here, before the connector is asked.
MAX_SESSIONS: Final = 4_096
#: Seconds without a packet after which a session ends, at both ends.
IDLE_SECONDS: Final = 210


class OpenFailed(Exception):
    """A UDP session did not come to be. The text is one sentence."""


class SessionUser(Protocol):
    """Who uses a session. Nothing here may raise."""

    def arrived(self, data: bytes) -> None:
        """The service sent `data`."""

    def ended(self, reason: str) -> None:
        """The connector ended the session."""

    def moved(self) -> None:
        """The connection takes no new requests any more, or is gone: the session must go elsewhere."""


class DatagramLink(ABC):
    """The datagrams of one connection: sessions by id, and IP packets."""

    def __init__(self, transport: Connection) -> None:
        self.transport = transport
        self.sessions: dict[bytes, SessionUser] = {}
        self.dropped: Counter[str] = Counter()
        "Datagrams of the connector that were of no use, and of ours that found no room, by reason."
        self.on_packet: Callable[[bytes], None] | None = None
        "Called with each IP packet (ICMP) of the connector."

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sessions={len(self.sessions)}>"

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take one datagram of the connector. Never raises."""

    @abstractmethod
    async def open(
        self, session_id: bytes, address: IPv4Address | IPv6Address, port: int, user: SessionUser, *, first: bytes = b""
    ) -> None:
        """Register a session, with its first packet if there is one. Cancel leaves it unknown whether it came to be.

        Raises:
            OpenFailed: the connector refused, or did not answer.
        """

    @abstractmethod
    def send(self, session_id: bytes, payload: bytes) -> bool:
        """Send a packet of a session; False where it was dropped."""

    @abstractmethod
    def send_packet(self, packet: bytes) -> bool:
        """Send an IP packet; False where it was dropped."""

    @abstractmethod
    async def close_session(self, session_id: bytes) -> None:
        """End a session, as far as the version knows how. Never raises but for a cancel."""

    @abstractmethod
    async def give_up(self, session_id: bytes) -> None:
        """End a session that may have come to be after all, as far as the version knows how. Never raises."""

    def ended(self, session_id: bytes, reason: str) -> None:
        """The connector says that a session ended; unknown ones are none of our business."""
        user = self.sessions.pop(session_id, None)
        if user is not None:
            user.ended(reason)

    def leaving(self) -> None:
        """The connection drains or is gone: every session must find another. Idempotent."""
        for user in tuple(self.sessions.values()):
            user.moved()

    def take(self, session_id: bytes, user: SessionUser) -> None:
        """Keep a session before its registration is answered.

        Raises:
            OpenFailed: there are too many.
        """
        if len(self.sessions) >= MAX_SESSIONS and session_id not in self.sessions:
            raise OpenFailed(f"The connection carries {MAX_SESSIONS} UDP sessions already.")
        self.sessions[session_id] = user
