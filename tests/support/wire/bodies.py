"""Request bodies for tests: an edge stream as an origin sees it, fed by hand."""

from __future__ import annotations

import asyncio


class Body:
    """Yields what was put, then waits, or ends, or fails."""

    def __init__(self, *pieces: bytes, end: bool = True) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.is_over = end
        self.error: Exception | None = None
        self.taken = 0
        self.arrived = asyncio.Event()
        self.readers = 0

    def put(self, data: bytes) -> None:
        self.pieces.append(data)
        self.arrived.set()

    def end(self) -> None:
        self.is_over = True
        self.arrived.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.arrived.set()

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        assert self.readers == 0, "two readers at once"
        return self._next(limit)

    def _next(self, limit: int) -> bytes | None:
        if self.pieces:
            data = self.pieces[0][:limit]
            self.pieces[0] = self.pieces[0][limit:]
            if not self.pieces[0]:
                del self.pieces[0]
            self.taken += len(data)
            return data
        if self.error is not None:
            raise self.error
        return b"" if self.is_over else None

    async def receive(self, limit: int = 65_536) -> bytes:
        assert self.readers == 0, "two readers at once"
        self.readers += 1
        try:
            while (data := self._next(limit)) is None:
                self.arrived.clear()
                await self.arrived.wait()
            return data
        finally:
            self.readers -= 1
