"""What a connection begins with, and how far it may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.ip.tcp.connection import Connection
    from pyconnector.transport.ip.tcp.pool import Pool


class State(Enum):
    """How far a connection is."""

    ASKED = "asked"
    "The client sent its SYN; nothing was answered."
    ANSWERED = "answered"
    "It was accepted; the client has not confirmed that."
    OPEN = "open"
    CLOSED = "closed"


class Ended(Enum):
    """Why a connection is closed."""

    BOTH = "both sides ended it"
    RESET = "the client reset it"
    TIMEOUT = "the client does not answer"
    ABORTED = "it was broken off here"


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Packed addresses and ports, the client's first."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a connection begins with."""

    now: float
    isn: int
    mss: int
    "Bytes of data that a packet of the tunnel has room for."
    receive_pool: Pool
    send_pool: Pool
    after: Callable[[Connection], None] = lambda connection: None
    "Called after each use from outside, since its timer may be another one now, or it may be over."
