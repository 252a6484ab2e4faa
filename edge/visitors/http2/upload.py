"""The body of one request on its way into the tunnel. The visitor gets credit for what the tunnel took, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.tasks import TaskSet
    from pyconnector.edge.visitors.form import Form
    from pyconnector.transport.seam import Stream


class Upload:
    """One body. What waits here is bounded by the window of its stream, whose credit is held back meanwhile."""

    __slots__ = ("_credit", "_draining", "_dropped", "_finished", "_held", "_owed", "_stream", "_tasks", "ended")

    def __init__(self, credit: Callable[[int], None], tasks: TaskSet) -> None:
        """`credit` gives the visitor so many bytes more."""
        self._credit = credit
        self._tasks = tasks
        self._stream: Stream | Form | None = None
        self._held = bytearray()
        self._owed = 0
        self._draining = False
        self._dropped = False
        self._finished = False
        self.ended = False
        "Whether the visitor sent all of it."

    def __repr__(self) -> str:
        return f"<Upload {'ended' if self.ended else 'open'}, {len(self._held)} bytes wait for the tunnel>"

    def feed(self, data: bytes, cost: int) -> None:
        """Take a piece that cost the visitor `cost` bytes of its window."""
        self._owed += cost
        if self._dropped:
            self._settle()
            return
        self._held += data
        if self._stream is not None and not self._draining:
            self._send(self._stream)

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        if self._stream is not None and not self._draining and not self._dropped:
            self._send(self._stream)

    def take_opening(self) -> tuple[bytes, bool]:
        """Return what arrived so far and whether that is all, to be sent in one with the opening of the stream."""
        self._finished = self.ended
        return self._take(), self._finished

    def attach(self, stream: Stream | Form) -> None:
        """Send what follows into `stream`, which has taken the opening."""
        self._stream = stream
        self._settle()
        if (self._held or self.ended) and not self._finished:
            self._send(stream)

    def drop(self) -> None:
        """Nobody wants the rest; what was held back gets its credit. Idempotent."""
        self._dropped = True
        self._held.clear()
        self._settle()

    def _take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken

    def _settle(self) -> None:
        if self._owed:
            owed, self._owed = self._owed, 0
            self._credit(owed)

    def _send(self, stream: Stream | Form) -> None:
        try:
            full = self._push(stream)
        except TransportError:
            self.drop()  # the response may come nevertheless
            return
        if full:
            self._draining = True
            self._tasks.start(self._drain(stream), "edge visitor drain")
        else:
            self._settle()

    def _push(self, stream: Stream | Form) -> bool:
        self._finished = self.ended
        return stream.send_nowait(self._take(), finish=self.ended) and not self.ended

    async def _drain(self, stream: Stream | Form) -> None:
        try:
            full = True
            while full and not self._dropped:
                await stream.drain()
                self._settle()
                full = self._push(stream) if (self._held or self.ended) and not self._finished else False
        except TransportError:
            self.drop()
        finally:
            self._draining = False
            self._settle()
