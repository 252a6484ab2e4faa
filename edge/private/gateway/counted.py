"""Bytes of a flow as they are, counted for its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.records import FlowRecord


class Counted:
    """A `Carriage` that changes nothing."""

    has_more = False

    def __init__(self, record: FlowRecord) -> None:
        self._record = record
        self.client_ended_first = False

    def to_stream(self, data: bytes) -> bytes:
        """Return `data`."""
        self._record.sent += len(data)
        return data

    def end(self) -> bytes:
        """Return nothing."""
        self.client_ended_first = True
        return b""

    def from_stream(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return `data`."""
        self._record.received += len(data)
        return data, b"", False
