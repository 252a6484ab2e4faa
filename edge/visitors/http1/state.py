"""What a visitor's HTTP/1.1 connection is at."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """One at a time; `State.IDLE` where nothing of the visitor is under way."""

    IDLE = "waiting for a request"
    HEAD = "in the middle of a request head"
    WAITING = "waiting for a response"
    RESPONDING = "in the middle of a response"
    TUNNEL = "a tunnel"
    CLOSING = "closing"
