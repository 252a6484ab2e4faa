"""Whether a visitor takes what is sent to it, quickly enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.visitors.sockets import LEAST_RATE, Unsent

if TYPE_CHECKING:
    import asyncio

    from pyconnector.edge.settings import VisitorSettings


class Pace:
    """Of one socket. `now` is seconds of the loop's clock."""

    def __init__(self, transport: asyncio.Transport, settings: VisitorSettings) -> None:
        self._transport = transport
        self._unsent = Unsent(transport)
        self._limit, self._last_limit = settings.write_timeout, settings.head_timeout
        self._lingered = False  # whether it has had some time to take what is left
        self._until: float | None = None  # while it takes less than comes

    def slow(self, now: float) -> None:
        """It takes less than comes."""
        self._unsent.taken()
        self._until = now + self._limit

    def fast(self) -> None:
        """It took enough."""
        self._until = None

    def is_stalled(self, now: float, *, may_rest: bool) -> bool:
        """Return whether it took too little of a response. A tunnel may rest for as long as it likes."""
        if self._until is None or now < self._until:
            return False
        if may_rest or self._unsent.taken() >= self._limit * LEAST_RATE:
            self._until = now + self._limit
            return False
        return True

    def lingers(self, now: float) -> float | None:
        """Return until when it may go on taking what is left; None where it neither goes nor takes it."""
        least = self._last_limit * LEAST_RATE if self._lingered else 1
        if not self._transport.get_write_buffer_size() or self._unsent.taken() < least:
            return None
        self._lingered = True
        return now + self._last_limit
