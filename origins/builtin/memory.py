"""A response that needs no connection: everything it says is there already."""

from __future__ import annotations

from pyconnector.origins.base import Headers, OriginResponse
from pyconnector.origins.net.inbox import Inbox


class MemoryResponse(Inbox, OriginResponse):
    """Status, headers and a body; with `ended` False more body may be put later."""

    def __init__(self, status: int, headers: Headers | None = None, body: bytes = b"", *, ended: bool = True) -> None:
        super().__init__()
        self.status = status
        self.headers = headers if headers is not None else []
        self.trailers: Headers = []
        if body:
            self.put(body)
        if ended:
            self.end()

    async def finish(self) -> None:
        """Nothing is held. Never waits."""

    def abort(self) -> None:
        """Forget what was not read. Idempotent."""
        self.drop()
