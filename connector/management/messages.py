"""What is said over the WebSocket of /logs, as JSON in text frames (reference/lifecycle.md 7). Pure."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyconnector.connector.observe.log import GENERAL, KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of one message of the client.
MAX_MESSAGE = 16 * 1024
#: Levels by the names that are spoken.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {number: name for name, number in LEVELS.items()}
START, STOP, LOGS = "start_streaming", "stop_streaming", "logs"


class UnknownMessage(Exception):
    """The client said something else. The text says what, and is short."""


class BadFilters(Exception):
    """It wants to begin with filters that are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which lines are wanted."""

    level: int = logging.DEBUG
    kinds: frozenset[str] = frozenset()
    "Empty for all."
    share: float = 1.0
    "Of those that are left, above 0."


def parse_message(data: bytes) -> Filters | None:
    """Return with which filters streaming is to begin, or None where it is to stop.

    Raises:
        UnknownMessage, BadFilters: it is neither.
    """
    try:
        message = json.loads(data)
        kind = message["type"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnknownMessage("invalid message type was provided") from None
    if kind == STOP:
        return None
    if kind != START:
        raise UnknownMessage(f"invalid client message type was provided: {str(kind)[:60]}")
    return _filters(message.get("filters"))


def _filters(given: object) -> Filters:
    if given is None:
        return Filters()
    if not isinstance(given, dict):
        raise BadFilters
    level, kinds, share = given.get("level"), given.get("events") or [], given.get("sampling", 0.0)
    if level is not None and (not isinstance(level, str) or level not in LEVELS):
        raise BadFilters
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in KINDS for kind in kinds):
        raise BadFilters
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise BadFilters
    # 0 and what lies beyond 1 mean all of them: what is not said is 0.
    share = float(share) if 0 < share < 1 else 1.0
    return Filters(level=LEVELS[level or "debug"], kinds=frozenset(kinds), share=share)


def line_message(time: str, level: int, message: str, values: Mapping[str, object], kind: str) -> bytes:
    """Write one line. What is a zero of the reference's is left out there and so here: debug, and its own events."""
    name = _NAMES.get(level) or ("error" if level > logging.ERROR else "debug")
    line: dict[str, Any] = {"time": time}
    if name != "debug":
        line["level"] = name
    line["message"] = message
    if kind != GENERAL:
        line["event"] = kind
    if values:
        line["fields"] = values
    return json.dumps({"type": LOGS, "logs": [line]}, ensure_ascii=False, default=str).encode("utf-8", "replace")
