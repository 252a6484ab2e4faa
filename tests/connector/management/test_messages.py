"""What a reader of the log says, and what it is told."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from pyconnector.connector.management.messages import (
    BadFilters,
    Filters,
    UnknownMessage,
    line_message,
    parse_message,
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, Filters()),
        ({}, Filters()),
        ({"level": "warn"}, Filters(level=logging.WARNING)),
        ({"events": ["http", "tcp"], "sampling": 0.5}, Filters(kinds=frozenset({"http", "tcp"}), share=0.5)),
        ({"level": None, "events": None, "sampling": 0}, Filters()),
        ({"sampling": 7}, Filters()),
        ({"sampling": -1}, Filters()),
    ],
)
def test_filters_are_read_as_the_reference_reads_them(filters: Any, expected: Filters) -> None:
    assert parse_message(json.dumps({"type": "start_streaming", "filters": filters}).encode()) == expected
    assert parse_message(b'{"type":"start_streaming"}') == Filters()
    assert parse_message(b'{"type":"stop_streaming"}') is None


@pytest.mark.parametrize(
    "filters", [[], {"level": "loud"}, {"level": 1}, {"events": ["dns"]}, {"events": "http"}, {"sampling": "all"}]
)
def test_filters_that_are_none_are_refused(filters: Any) -> None:
    with pytest.raises(BadFilters):
        parse_message(json.dumps({"type": "start_streaming", "filters": filters}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{}", b'{"type":"logs"}', b'{"type":4}', b"[" * 10_000, b"\xff"])
def test_other_messages_are_unknown(data: bytes) -> None:
    with pytest.raises(UnknownMessage):
        parse_message(data)


def test_zeros_of_the_reference_are_left_out() -> None:
    def line(level: int, kind: str, **values: object) -> dict[str, Any]:
        message = json.loads(line_message("T", level, "m\x1b", values, kind))
        assert message["type"] == "logs"
        (found,) = message["logs"]
        assert isinstance(found, dict)
        return found

    assert line(logging.DEBUG, "cloudflared") == {"time": "T", "message": "m\x1b"}
    assert line(logging.ERROR, "http", a=1) == {
        "time": "T",
        "level": "error",
        "message": "m\x1b",
        "event": "http",
        "fields": {"a": 1},
    }
    assert line(logging.CRITICAL, "tcp")["level"] == "error"
