"""One UDP session: a socket towards the service on one side, a connection to the edge on the other, and an idle time.

Made by the two versions of the datagram protocol, which differ in framing and in who owns a session (`v2`, `v3`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pyconnector.connector.observe.datagram_counters import EGRESS_FULL, READ_FAILED
from pyconnector.ingress.config.durations import format_duration
from pyconnector.origins.udp.flow import READ_TOO_LARGE, UdpFlow

if TYPE_CHECKING:
    from pyconnector.connector.datagrams.shared import SharedFlows
    from pyconnector.connector.observe.log import Log

#: Why a session was not made, as the reference says it (wire.md 10).
LIMITED = "failed to start udp session due to rate limiting: too many active flows"


class Egress(Protocol):
    """The connection that carries a session's datagrams to the edge."""

    index: int

    def send(self, data: bytes) -> bool:
        """Send one datagram; False where it was dropped."""


class SessionOwner(Protocol):
    """Who made a session."""

    shared: SharedFlows
    writes_are_fatal: bool
    "Whether a session ends where the system refuses to send."

    def session_ended(self, session: UdpSession, reason: str, *, failed: bool) -> None:
        """`session` ended by itself: it was idle, or it failed."""


class SessionRefused(Exception):
    """A session was not made. Its text is one sentence."""

    def __init__(self, reason: str, *, limited: bool = False) -> None:
        super().__init__(reason)
        self.limited = limited


class UdpSession:
    """A session from its registration to its end, which its owner is told once."""

    __slots__ = (
        "_counters", "_flow", "_head", "_last", "_loop", "_owner", "_shared", "_tail", "_timer", "ended", "idle",
        "link", "session_id",
    )  # fmt: skip

    def __init__(
        self, session_id: bytes, *, idle: float, framing: tuple[bytes, bytes], link: Egress, owner: SessionOwner
    ) -> None:
        """`framing` is what stands before and behind each payload on its way to the edge."""
        self.session_id = session_id
        self.idle = idle
        self.link = link
        self.ended = False
        self._head, self._tail = framing
        self._owner = owner
        self._shared = owner.shared
        self._counters = owner.shared.counters
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._flow: UdpFlow | None = None

    def __repr__(self) -> str:
        return f"<UdpSession {self.session_id.hex()} {self._flow!r} ended={self.ended}>"

    def open(self, host: str, port: int) -> None:
        """Take a place among the flows and a socket. On failure nothing is held.

        Raises:
            SessionRefused: there are too many flows, or the address cannot be used.
        """
        self._flow = self._shared.open(host, port, self)
        self._timer = self._loop.call_at(self._last + self.idle, self._look)

    def touch(self) -> None:
        """Count from now on how long the session has been idle."""
        self._last = self._loop.time()

    def write(self, payload: bytes) -> None:
        """Send `payload` to the service."""
        if self._flow is not None and not self.ended:
            self._last = self._loop.time()
            self._flow.send(payload)

    def close(self) -> None:
        """Give everything back without a word to the owner. Idempotent."""
        if self.ended:
            return
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flow is not None:
            self._flow.close()
            self._shared.release()

    # -- what the socket brings ----------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """See `FlowOwner.arrived`."""
        self._last = self._loop.time()
        link = self.link
        if not link.send(self._head + data + self._tail):
            self._counters.dropped[link.index, EGRESS_FULL] += 1

    def dropped(self, reason: str) -> None:
        """See `FlowOwner.dropped`."""
        self._counters.dropped[self.link.index, reason] += 1
        if reason == READ_TOO_LARGE:
            self._counters.too_big += 1

    def broken(self, cause: str, *, reading: bool) -> None:
        """See `FlowOwner.broken`."""
        if reading:
            self._counters.dropped[self.link.index, READ_FAILED] += 1
        if reading or self._owner.writes_are_fatal:
            self._end(cause, failed=True)

    def _look(self) -> None:
        at = self._last + self.idle
        if at > self._loop.time():
            self._timer = self._loop.call_at(at, self._look)
        else:
            self._end(f"session idle for {format_duration(self.idle)}", failed=False)

    def _end(self, reason: str, *, failed: bool) -> None:
        if not self.ended:
            self.close()
            self._owner.session_ended(self, reason, failed=failed)


def refusal_sentence(log: Log, error: SessionRefused) -> str:
    """Log why a session was refused, and return it."""
    log.warning("Refused a UDP session: %s", error)
    return str(error)
