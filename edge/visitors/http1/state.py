"""What a visitor's HTTP/1.1 connection is at."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.edge.settings import VisitorSettings

#: Seconds for which a visitor is still read after the last response, so that it can read that response (RFC 9112 9.6).
LINGER = 2.0


class State(Enum):
    """One at a time; `State.IDLE` where nothing of the visitor is under way."""

    IDLE = "waiting for a request"
    HEAD = "in the middle of a request head"
    WAITING = "waiting for a response"
    RESPONDING = "in the middle of a response"
    TUNNEL = "a tunnel"
    CLOSING = "closing"


def limits(settings: VisitorSettings) -> dict[State, float]:
    """Return the seconds that a connection may be at something; without end at what is not in there."""
    return {
        State.IDLE: settings.idle_timeout,
        State.HEAD: settings.head_timeout,
        State.WAITING: settings.response_timeout,
        State.CLOSING: LINGER,
    }
