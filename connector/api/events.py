"""What a Connector tells its user as it happens, and what it says of its connections when asked.

Events are given to `on_event` from the event loop, in order; the callback must not block. One that raises ends the
Connector, and whoever waits for it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


class ConnectionState(Enum):
    """Where one connection of the connector stands."""

    CONNECTING = "connecting"
    REGISTERED = "registered"
    WAITING = "waiting"
    "Between two attempts."
    UNREGISTERED = "unregistered"
    "Draining: the edge sends nothing new."
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """One connection, as it is now."""

    index: int
    state: ConnectionState
    address: Address | None = None
    location: str = ""
    connection_id: UUID | None = None
    protocol: str = ""
    "Over what it was registered last: `quic` or `http2`; empty before."


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """A connection is dialled."""

    index: int
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The edge accepted a connection and will send requests."""

    index: int
    address: Address
    location: str
    connection_id: UUID
    remotely_managed: bool
    protocol: str = "quic"
    "`quic` or `http2`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The edge refused a registration. `permanent` where it said that trying again is useless."""

    index: int
    cause: str
    permanent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """A connection ended, or could not be made."""

    index: int
    reason: str
    for_good: bool = False
    "It was one more, beside those that are configured, and its index is not used any more."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting:
    """The next attempt is made after `delay` seconds."""

    index: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregistered:
    """A connection is going away, and the edge is told; what it carries goes on."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationApplied:
    """New rules are in force: pushed by the edge (`version` 0 and up) or reloaded (`version` -1)."""

    version: int


Event: TypeAlias = Connecting | Registered | Refused | Disconnected | Reconnecting | Unregistered | ConfigurationApplied
