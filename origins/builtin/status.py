"""`http_status:N`: the same status for everybody, no headers, no body (reference/ingress.md 8)."""

from __future__ import annotations

from pyconnector.origins.base import ByteReader, Origin, OriginRequest, OriginResponse
from pyconnector.origins.builtin.memory import MemoryResponse


class StatusOrigin(Origin):
    """Answers without looking at the request."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer at once; there is nothing to cancel."""
        return MemoryResponse(self._status)
